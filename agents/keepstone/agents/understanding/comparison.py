"""Comparison: who asks about A and B is best served with passages about both, so each is asked about by itself.

sides("Were Ada Lovelace and Mary Shelley of the same nationality?")
# ("Were Ada Lovelace of the same nationality?", "Were Mary Shelley of the same nationality?")

The two are told by patterns, which needs no language model: search does not mind the grammar.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Final

from keepstone.agents.understanding.base import Documents, Further
from keepstone.agents.understanding.model import BoundedModel
from keepstone.retrieval.several import Query

# A name: words with capitals or digits, with small joining words between them.
_WORD: Final = r"[A-Z0-9][\w.'’&:!-]*"
_NAME: Final = rf"(?:the\s+)?{_WORD}(?:\s+(?:(?:of|the|and\s+the|for|de|la|in|on|a|to|with)\s+)?{_WORD}){{0,9}}"
_END: Final = r"(?=\s*(?:[,;.?!]|$|\b(?:in\s+terms|with\s+respect|regarding|concerning|when|for|by)\b))"
_ANY: Final = r"[^,;.?!]{2,60}?"
_HAN: Final = r"[^，。？和与跟同及]{2,20}?"
_PATTERNS: Final = (
    *(
        re.compile(pattern, re.IGNORECASE)
        for pattern in (
            rf"\bcompar(?:e|ing|ison\s+(?:of|between))\s+(?P<a>{_ANY})\s+(?:and|with|to|against)\s+(?P<b>{_ANY}){_END}",
            rf"\b(?:differences?|similarit(?:y|ies))\s+between\s+(?P<a>{_ANY})\s+and\s+(?P<b>{_ANY}){_END}",
            rf"\bhow\s+(?:do|does|is|are)\s+(?P<a>{_ANY})\s+(?:different|differ|compared?)\s+\w+\s+(?P<b>{_ANY}){_END}",
        )
    ),
    *(
        re.compile(pattern)
        for pattern in (
            rf"(?P<a>{_NAME})\s+(?:vs\.?|versus)\s+(?P<b>{_NAME})",
            rf"(?P<a>{_NAME}),?\s+or\s+(?P<b>{_NAME})(?=\s*\?|\s*$)",
            rf"^(?:Are|Were|Is|Was|Do|Does|Did|Have|Has)\s+(?:both\s+)?(?P<a>{_NAME})\s+and\s+(?P<b>{_NAME})\s+\w",
            rf"(?:比较|对比)(?:一下)?(?P<a>{_HAN})[和与跟同及](?P<b>{_HAN})(?=[的，。？]|$)",
            rf"(?P<a>{_HAN})[和与跟同及](?P<b>{_HAN})(?:之间)?(?:的|有什么|有哪些|有何)*(?:区别|差异|差别|不同|异同)",
        )
    ),
)


class Comparison:
    """Asks about both sides of a comparison."""

    name = "comparison"
    needs_model = False

    async def queries(self, question: str, documents: Documents, model: BoundedModel) -> AsyncGenerator[Further, None]:
        """Yield the question about either side; nothing where it does not compare two things."""
        del documents, model
        for side in sides(question):
            yield Further(Query(side, separate=True), self.name)


def sides(question: str) -> tuple[str, ...]:
    """Return the question about each of the two things that it compares, or nothing where it compares none."""
    for pattern in _PATTERNS:
        found = pattern.search(question)
        if found:
            before, after = question[: found.start("a")], question[found.end("b") :]
            return tuple(f"{before}{found[side]}{after}" for side in ("a", "b"))
    return ()

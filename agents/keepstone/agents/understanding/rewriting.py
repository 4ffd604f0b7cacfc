"""Rewriting: keywords and misspelt words become a question as somebody would write it with care."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from difflib import get_close_matches
from typing import Final

from keepstone.agents.understanding.base import Documents, Further
from keepstone.agents.understanding.model import BoundedModel, Unusable, asked, words
from keepstone.retrieval.analysis import tokens
from keepstone.retrieval.several import Query

_TASK: Final = (
    "Correct the spelling of the question, and if it is only keywords, write it as one complete question. Keep its "
    "meaning, names, numbers and language; add nothing. Write only the question."
)
_TOKENS: Final = 80
_ALIKE: Final = 0.7
_LEAST_KEPT: Final = 0.6
_MOST_GROWN: Final = 3


class Rewriting:
    """Has the model write the question properly. What is not much like it is not taken."""

    name = "rewriting"
    needs_model = True

    async def queries(self, question: str, documents: Documents, model: BoundedModel) -> AsyncGenerator[Further, None]:
        """Yield the rewritten question, beside the one that was asked."""
        del documents
        rewritten = words(await model.write(_TASK, asked(question), max_tokens=_TOKENS))
        if not _faithful(rewritten, question):
            raise Unusable("another question")
        if rewritten.casefold().rstrip("?？. ") != question.casefold().rstrip("?？. "):
            yield Further(Query(rewritten), self.name, speaks=True)


def _faithful(rewritten: str, question: str) -> bool:
    """Tell whether most words of the question came along, misspelt ones in a form alike, and not too many others."""
    asked_for, there = set(tokens(question)), set(tokens(rewritten))
    if not there or len(there) > _MOST_GROWN * len(asked_for) + _MOST_GROWN:
        return False
    kept = sum(bool(get_close_matches(word, there, n=1, cutoff=_ALIKE)) for word in asked_for)
    return kept >= _LEAST_KEPT * len(asked_for)

"""What kind of question it is: a search, small talk, for all of a kind, or a comparison.

Rules know them by their words, in English and Chinese; a language model that is large enough may be asked instead
(`understanding.intent`). The rules are made to be right when they say something: what they do not know is a search.
"""

from __future__ import annotations

import re
from typing import Final, get_args

from keepstone.agents.understanding.base import Intent
from keepstone.agents.understanding.comparison import sides
from keepstone.agents.understanding.model import BoundedModel, Unusable, asked, written_object
from keepstone.agents.understanding.smalltalk import is_small_talk
from keepstone.retrieval.analysis import tokens

_ALL: Final = re.compile(
    r"""
    ^\W*(?:please\s+|can\s+you\s+|could\s+you\s+)?
        (?:list|enumerate|name|show\s+me|give\s+me|find|tell\s+me|summari[sz]e)\s+(?:me\s+)?(?:all|every|each)\b
    | \b(?:complete|full)\s+list\s+of\b
    | \bhow\s+many\s+(?:different\s+|of\s+the\s+)?(?:documents|files|articles|papers|reports|passages|pages)\b
    | \b(?:which|what)\s+(?:documents|files|articles|papers|reports|passages)\b
    | 列出 | 列举 | (?:全部|所有)[^，。？]{0,12}(?:有哪些|是什么|列表|清单)
    | (?:多少|几)[个份篇本]?(?:文档|文件|文章|资料|报告)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_COMPARING: Final = re.compile(
    r"\bcompar(?:e|ed|ing|ison)\b|\bdifferences?\s+between\b|\bversus\b|\bvs\b|比较一下|对比|(?:区别|差异|差别|异同)",
    re.IGNORECASE,
)
_TASK: Final = (
    "Tell what kind of question this is: chat (a greeting, thanks, or small talk that no document answers), aggregate "
    "(asks to count or list everything of a kind), compare (compares two or more things), or search (anything else)."
)
_SCHEMA: Final = written_object(intent={"enum": list(get_args(Intent))})
_TOKENS: Final = 16
_LONGEST_CHAT: Final = 8


def intent_by_rules(question: str) -> Intent:
    """Return what kind of question it is, as far as its words tell."""
    if is_small_talk(question):
        return "chat"
    if _ALL.search(question):
        return "aggregate"
    return "compare" if _COMPARING.search(question) or sides(question) else "search"


async def intent_by_model(question: str, model: BoundedModel) -> Intent:
    """Return what kind of question it is, as the model sees it.

    Raises:
        Unusable: it gave none of the kinds, or calls a question small talk that is too long for it.
        EngineUnavailable: the language model does not answer.
    """
    filled = await model.fill(_TASK, asked(question), _SCHEMA, max_tokens=_TOKENS)
    for intent in get_args(Intent):
        if filled.get("intent") == intent:
            if intent == "chat" and len(tokens(question)) > _LONGEST_CHAT:
                raise Unusable("too long for small talk")
            chosen: Intent = intent
            return chosen
    raise Unusable("no kind of question")

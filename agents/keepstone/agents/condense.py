"""Making a follow-up question stand alone, so that search understands it without the conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from keepstone.agents.prompts import condense_prompt
from keepstone.platform.serving.engine import ChatRequest, Engine, Message
from keepstone.retrieval.analysis import tokens

_RECENT = 4
_LONGEST_TURN = 10_000
_MAX_TOKENS = 80
_LEAST_OVERLAP = 0.8
_FEWEST_WORDS = 3
_LEANING = re.compile(
    r"""
    ^\W*(?:and|but|or|also|so|then|else|why|what\ about|how\ about)\b
    | \b(?:it|its|they|them|their|those|these|he|she|him|his|her)\b
    | \b(?:that|this|there|one|ones|instead|either|too)\W*$
    | ^(?:那|还有|另外|而|但|为什么) | [它他她]们? | [这那][个些种台次]?(?:[呢吗？?]|$) | 呢[？?]?$
    """,
    re.IGNORECASE | re.VERBOSE,
)


async def condense(engine: Engine, question: str, history: Sequence[Message], *, rewrite: bool) -> str:
    """Return the question as it would be asked without the conversation.

    Args:
        engine: the language model.
        question: the last message.
        history: the turns before it, of which the beginnings count.
        rewrite: whether the model is capable of rewriting. Its rewriting is taken only when it brings no words of its
            own; otherwise, and for small models, the question before is put in front of one that leans on it.
    """
    turns = [Message(message.role, message.content[:_LONGEST_TURN]) for message in history]
    asked = [message.content for message in turns if message.role == "user"]
    if not asked:
        return question
    if rewrite:
        request = ChatRequest(messages=condense_prompt(question, turns[-_RECENT:]), max_tokens=_MAX_TOKENS)
        rewritten = " ".join((await engine.chat(request)).text.split())
        if _faithful(rewritten, " ".join([question, *(message.content for message in turns[-_RECENT:])])):
            return rewritten
    return f"{asked[-1]} {question}" if _leans_on_what_came_before(question) else question


def _leans_on_what_came_before(question: str) -> bool:
    return bool(_LEANING.search(question)) or len(set(tokens(question))) < _FEWEST_WORDS


def _faithful(rewritten: str, conversation: str) -> bool:
    words = set(tokens(rewritten))
    return bool(words) and len(words & set(tokens(conversation))) >= _LEAST_OVERLAP * len(words)

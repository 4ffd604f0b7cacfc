"""Making a follow-up question stand alone, so that search understands it without the conversation."""

from __future__ import annotations

from collections.abc import Sequence

from keepstone.agents.prompts import condense_prompt
from keepstone.platform.serving.engine import ChatRequest, Engine, Message
from keepstone.retrieval.analysis import tokens

_RECENT = 4
_MAX_TOKENS = 80
_LEAST_OVERLAP = 0.8


async def condense(engine: Engine, question: str, history: Sequence[Message], *, rewrite: bool) -> str:
    """Return the question as it would be asked without the conversation.

    Args:
        engine: the language model.
        question: the last message.
        history: the turns before it.
        rewrite: whether the model is capable of rewriting. Its rewriting is taken only when it brings no words of its
            own; otherwise, and for small models, the question before is put in front.
    """
    asked = [message.content for message in history if message.role == "user"]
    if not asked:
        return question
    if rewrite:
        request = ChatRequest(messages=condense_prompt(question, history[-_RECENT:]), max_tokens=_MAX_TOKENS)
        rewritten = " ".join((await engine.chat(request)).text.split())
        if _faithful(rewritten, " ".join([question, *(message.content for message in history[-_RECENT:])])):
            return rewritten
    return f"{asked[-1]} {question}"


def _faithful(rewritten: str, conversation: str) -> bool:
    words = set(tokens(rewritten))
    return bool(words) and len(words & set(tokens(conversation))) >= _LEAST_OVERLAP * len(words)

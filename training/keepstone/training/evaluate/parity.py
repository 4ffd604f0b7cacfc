"""How alike two served models are, token by token: adapter and merged, full and quantized, trained and served.

    parity = await compare(live, candidate, conversations, own_template(model.path))
    parity.same_tokens, parity.mean_difference

The same conversations are read by both engines. Each tells what tokens its chat template made of them, which must be
those of the template that the model was trained with, and how likely it held each of these tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog

from keepstone.platform.serving.engine import Engine, Message

Conversation = Sequence[Message]
Template = Callable[[Conversation], Sequence[int]]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parity:
    """How alike two served models are on the same texts."""

    texts: int
    different: int
    """How many texts get other tokens from the engine's chat template than from the model's own."""
    tokens: int
    """How many tokens were compared."""
    mean_difference: float | None
    """Mean of |log p - log q| over the tokens, in nats; None where the two read different tokens."""
    max_difference: float | None

    @property
    def same_tokens(self) -> bool:
        """Whether our template and the engine's give the same tokens."""
        return self.different == 0


@dataclass(frozen=True, slots=True)
class _Reading:
    """What an engine made of a conversation."""

    ids: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    """Of each token after those before it, in nats; None for the first."""


def own_template(folder: Path) -> Template:
    """Return what makes tokens of a conversation as training does.

    Args:
        folder: of the model, or of whatever else holds its tokenizer and chat template.
    """
    from transformers import AutoTokenizer  # takes seconds to load

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def template(conversation: Conversation) -> Sequence[int]:
        messages = [{"role": each.role, "content": each.content} for each in conversation]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    return template


async def compare(
    live: Engine, candidate: Engine, conversations: Sequence[Conversation], template: Template
) -> Parity | None:
    """Let both engines read conversations.

    Args:
        live: the model in use, or any other that the candidate is to be like.
        candidate: the one to be judged.
        conversations: whole exchanges.
        template: the candidate's own.

    Returns:
        None where an engine read none of them so that it can be told, as others than vLLM do not tell.
    """
    different = texts = 0
    differences: list[float] = []
    for conversation in conversations:
        before, after = await _read(live, conversation), await _read(candidate, conversation)
        if before is None or after is None:
            continue
        texts += 1
        different += tuple(template(conversation)) != after.ids
        if before.ids == after.ids:
            pairs = zip(before.logprobs, after.logprobs, strict=True)
            differences += [abs(one - other) for one, other in pairs if one is not None and other is not None]
    if not texts:
        return None
    return Parity(
        texts=texts,
        different=different,
        tokens=len(differences),
        mean_difference=sum(differences) / len(differences) if differences else None,
        max_difference=max(differences, default=None),
    )


async def _read(engine: Engine, conversation: Conversation) -> _Reading | None:
    body = {
        "messages": [{"role": each.role, "content": each.content} for each in conversation],
        "add_generation_prompt": False,
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": 0,
        "return_token_ids": True,
    }
    answer = await engine.forward("/chat/completions", body)
    try:
        content = b"".join([piece async for piece in answer.body])
    finally:
        await answer.body.aclose()
    if answer.status != HTTPStatus.OK:
        # Such as one that is too long for the model.
        log.warning("conversation_not_read", status=answer.status)
        return None
    return _reading(json.loads(content))


def _reading(answer: Mapping[str, Any]) -> _Reading | None:
    ids, logprobs = answer.get("prompt_token_ids"), answer.get("prompt_logprobs")
    if not ids or not logprobs or len(ids) != len(logprobs):
        return None
    each = zip(ids, logprobs, strict=True)
    return _Reading(tuple(ids), tuple(known[str(token)]["logprob"] if known else None for token, known in each))

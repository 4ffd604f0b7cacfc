"""Packing passages into the prompt: best first, numbered, within the token budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keepstone.agents.sentences import sentence_spans
from keepstone.agents.types import Passage
from keepstone.retrieval.types import Hit

_LABEL_TOKENS = 24
_LEAST_TOKENS = 40


def pack(hits: Sequence[Hit], *, limit: int, budget: int, count_tokens: Callable[[str], int]) -> tuple[Passage, ...]:
    """Number the best hits and cut the last one at a sentence where the budget ends.

    Args:
        hits: what search found, best first.
        limit: most passages.
        budget: most tokens of all passages with their labels.
        count_tokens: the language model's tokenizer.
    """
    passages: list[Passage] = []
    left = budget
    for hit in hits[:limit]:
        left -= count_tokens(hit.context) + _LABEL_TOKENS
        if left < _LEAST_TOKENS and passages:
            break
        text = _shorten(hit.text, max(left, _LEAST_TOKENS), count_tokens)
        left -= count_tokens(text)
        passages.append(Passage(number=len(passages) + 1, hit=hit, text=text))
    return tuple(passages)


def _shorten(text: str, budget: int, count_tokens: Callable[[str], int]) -> str:
    if count_tokens(text) <= budget:
        return text
    ends = [end for _, end in sentence_spans(text) if count_tokens(text[:end]) <= budget]
    return text[: ends[-1]] if ends else text[: budget * 2]

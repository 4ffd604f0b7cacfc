"""Whether a passage supports a claim, and which of its words do.

The measure is lexical: the share of the claim's words, weighted by how rare they are among the passages at hand, that
stand close together in the passage. A number that the passage does not contain refutes the claim, since invented
figures are the worst of hallucinations. It needs no second model, works alike in English and Chinese, and can be shown
to a person, word by word.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from keepstone.agents.sentences import sentence_spans
from keepstone.agents.types import Passage
from keepstone.retrieval.analysis import tokens

SUPPORTED = 0.6
"""Least support of a claim that counts as supported."""
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_WINDOW = 2


@dataclass(frozen=True, slots=True)
class Support:
    """How well one passage supports a claim."""

    number: int
    """The passage's number."""
    score: float
    """0 to 1."""
    start: int
    end: int
    """The characters of the document that support it."""


@dataclass(frozen=True, slots=True)
class _Window:
    words: frozenset[str]
    start: int
    end: int


class Evidence:
    """The packed passages, prepared for checking many claims.

    Args:
        passages: what the language model was shown.
        question: the question; its own numbers may be repeated in an answer.
    """

    def __init__(self, passages: Sequence[Passage], question: str = "") -> None:
        self._windows = {passage.number: _windows(passage) for passage in passages}
        self._numbers = {
            passage.number: _numbers(f"{passage.hit.context}\n{passage.text}\n{question}") for passage in passages
        }
        singles = [window.words for windows in self._windows.values() for window in windows]
        self._count = len(singles)
        self._frequency = Counter(word for words in singles for word in words)

    def weight(self, word: str) -> float:
        """Return the rarity of a word among the passages; the highest for words that none contains."""
        return math.log1p(self._count / (self._frequency[word] + 0.5))

    def is_claim(self, sentence: str) -> bool:
        """Tell whether a sentence says enough to be checked; "Yes." and headings ending in a colon do not."""
        return not sentence.rstrip().endswith((":", "：")) and len(set(tokens(sentence))) >= 2

    def best(self, claim: str, *, prefer: int | None = None) -> Support | None:
        """Return the passage that supports a claim best, or None when none has a word of it.

        Args:
            claim: a sentence of the answer.
            prefer: the passage that the model cited; it wins whenever it supports the claim.
        """
        words = frozenset(tokens(claim))
        numbers = _numbers(claim)
        if prefer in self._windows:
            preferred = self._in_passage(prefer, words, numbers)
            if preferred is not None and preferred.score >= SUPPORTED:
                return preferred
        found = (self._in_passage(number, words, numbers) for number in self._windows)
        return max((each for each in found if each is not None), key=lambda each: each.score, default=None)

    def _in_passage(self, number: int, words: frozenset[str], numbers: frozenset[str]) -> Support | None:
        if not numbers <= self._numbers[number]:
            return None
        total = self._total(words)
        if not total:
            return None
        best: Support | None = None
        for window in self._windows[number]:
            score = self._total(words & window.words) / total
            if score > 0 and (best is None or score > best.score):
                best = Support(number, score, window.start, window.end)
        return best

    def _total(self, words: Iterable[str]) -> float:
        return sum(self.weight(word) for word in sorted(words))


def _windows(passage: Passage) -> list[_Window]:
    """Return every sentence, then every pair of neighbouring ones: short before long, so that quotes stay short."""
    spans = sentence_spans(passage.text)
    context = frozenset(tokens(passage.hit.context))
    words = [frozenset(tokens(passage.text[start:end])) for start, end in spans]
    offset = passage.hit.start
    return [
        _Window(
            words=frozenset().union(context, *words[first : first + length]),
            start=offset + spans[first][0],
            end=offset + spans[first + length - 1][1],
        )
        for length in range(1, _WINDOW + 1)
        for first in range(len(spans) - length + 1)
    ]


def _numbers(text: str) -> frozenset[str]:
    """Return the numbers of a text, without thousands separators, so that 1,000 and 1000 agree."""
    found = set()
    for number in _NUMBER.findall(text):
        found.add(re.sub(r"[.,](?=\d{3}(?:\D|$))", "", number))
    return frozenset(found)

"""Cuts a Document at paragraphs, what is too long at lines, then at sentences, at words, and at last between tokens.

The way of LangChain's RecursiveCharacterTextSplitter, counted in tokens: at each level neighbours are gathered until
the next one would not fit any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from typing import ClassVar, Final

from keepstone.retrieval.chunking.base import Span, check_sizes, cut_out
from keepstone.retrieval.chunking.breaks import sentences
from keepstone.retrieval.chunking.fixed import token_spans
from keepstone.retrieval.chunking.tokens import TokenCounter, TokenOffsets
from keepstone.retrieval.types import Chunk, Document

_VISIBLE = re.compile(r"\S")


def _after(separator: re.Pattern[str], text: str, start: int, end: int) -> Iterator[int]:
    """Yield where the second and further pieces of `text[start:end]` begin."""
    for match in separator.finditer(text, start, end):
        if start < match.end() < end:
            yield match.end()


_LEVELS: Final[tuple[Callable[[str, int, int], Iterator[int]], ...]] = (
    partial(_after, re.compile(r"\n[^\S\n]*\n\s*")),
    partial(_after, re.compile(r"\n\s*")),
    sentences,
    partial(_after, re.compile(r"\s+")),
)
LINES: Final = 1
"""The level at which paragraphs are cut."""


@dataclass(frozen=True, slots=True)
class Recursive:
    """Cuts at the coarsest of paragraphs, lines, sentences, words and tokens that gives pieces short enough.

    Raises:
        InvalidInput: the overlap is more than half of a chunk.
    """

    max_tokens: int
    """Longest chunk, its context not counted."""
    overlap_tokens: int = 0
    """How much of a chunk the next one repeats, at most, in whole pieces."""
    headings: bool = True
    """Whether title and headings are indexed with each chunk."""

    name: ClassVar[str] = "recursive"
    version: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        check_sizes(self.max_tokens, self.overlap_tokens)

    def split(self, document: Document, encoder: TokenOffsets) -> list[Chunk]:
        """See `Chunker.split`."""
        cutter = RecursiveCutter(
            document.text, TokenCounter(document.text, encoder), self.max_tokens, self.overlap_tokens
        )
        return cut_out(document, starmap(Span, cutter.spans(0, len(document.text))), headings=self.headings)


@dataclass(frozen=True, slots=True)
class RecursiveCutter:
    """Cuts stretches of one text."""

    text: str
    counter: TokenCounter
    size: int
    """Most tokens of a span."""
    overlap: int
    """Most tokens that a span repeats of the one before."""

    def spans(self, start: int, end: int, level: int = 0) -> Iterator[tuple[int, int]]:
        """Yield spans that cover what is visible of `text[start:end]`, in order.

        Args:
            start: first character.
            end: the one behind the last.
            level: the coarsest cuts: 0 for those between paragraphs, `LINES` for those between lines.
        """
        visible = _VISIBLE.search(self.text, start, end)
        if visible is None:
            return
        start = visible.start()
        if level == len(_LEVELS):
            yield from token_spans(self.counter, start, end, size=self.size, overlap=self.overlap)
            return
        starts = [start, *_LEVELS[level](self.text, start, end), end]
        before = self.counter.before(starts)
        first = 0
        for piece in range(len(starts) - 1):
            if before[piece + 1] - before[piece] > self.size:
                if first < piece:
                    yield starts[first], starts[piece]
                yield from self.spans(starts[piece], starts[piece + 1], level + 1)
                first = piece + 1
            elif before[piece + 1] - before[first] > self.size:
                yield starts[first], starts[piece]
                if not self.overlap:
                    first = piece
                while before[piece] - before[first] > self.overlap or before[piece + 1] - before[first] > self.size:
                    first += 1
        if first < len(starts) - 1:
            yield starts[first], end

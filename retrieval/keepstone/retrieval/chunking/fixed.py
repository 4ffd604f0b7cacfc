"""Cuts a Document every so many tokens, whatever stands there: the plainest way, to measure others against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import starmap
from typing import ClassVar

from keepstone.retrieval.chunking.base import Span, check_sizes, cut_out
from keepstone.retrieval.chunking.tokens import TokenCounter, TokenOffsets
from keepstone.retrieval.types import Chunk, Document


@dataclass(frozen=True, slots=True)
class FixedTokens:
    """Cuts every `max_tokens` tokens.

    Raises:
        InvalidInput: the overlap is more than half of a chunk.
    """

    max_tokens: int
    """Length of the chunks, without their context."""
    overlap_tokens: int = 0
    """How much of a chunk the next one repeats."""
    headings: bool = True
    """Whether title and headings are indexed with each chunk."""

    name: ClassVar[str] = "tokens"
    version: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        check_sizes(self.max_tokens, self.overlap_tokens)

    def split(self, document: Document, encoder: TokenOffsets) -> list[Chunk]:
        """See `Chunker.split`."""
        counter = TokenCounter(document.text, encoder)
        spans = token_spans(counter, 0, len(document.text), size=self.max_tokens, overlap=self.overlap_tokens)
        return cut_out(document, starmap(Span, spans), headings=self.headings)


def token_spans(counter: TokenCounter, start: int, end: int, *, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield spans of `size` tokens each that cover `start` to `end`, each but the first repeating `overlap` tokens."""
    while start < end:
        [first] = counter.before([start])
        # Tokens may share a character (the bytes of an emoji), and must then stay together.
        cut = min(max(counter.start_of(first + size), counter.next_start(start)), end)
        yield start, cut
        if cut >= end:
            return
        start = max(counter.start_of(first + size - overlap), counter.next_start(start))

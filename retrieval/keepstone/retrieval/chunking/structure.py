"""Cuts a Document into chunks along its structure.

Sections come first (`sections.py`); one that is too long is cut (`pack.py`) at the cheapest breaks (`breaks.py`) near
full length. Tables and code stay whole where they fit. Linear in the length of the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from keepstone.retrieval.chunking.base import Span, check_sizes, cut_out
from keepstone.retrieval.chunking.pack import Packer
from keepstone.retrieval.chunking.sections import sections
from keepstone.retrieval.chunking.tokens import TokenCounter, TokenOffsets
from keepstone.retrieval.types import Chunk, Document


@dataclass(frozen=True, slots=True)
class Structure:
    """Cuts between sections, and where those are too long between blocks, items, rows or sentences.

    Raises:
        InvalidInput: the overlap is more than half of a chunk.
    """

    max_tokens: int
    """Longest chunk, its context not counted."""
    overlap_tokens: int = 0
    """How much of a chunk the next one of the same section repeats, at most."""
    headings: bool = True
    """Whether title and headings are indexed with each chunk."""

    name: ClassVar[str] = "structure"
    version: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        check_sizes(self.max_tokens, self.overlap_tokens)

    def split(self, document: Document, encoder: TokenOffsets) -> list[Chunk]:
        """See `Chunker.split`."""
        counter = TokenCounter(document.text, encoder)
        spans = structure_spans(document, counter, max_tokens=self.max_tokens, overlap=self.overlap_tokens)
        return cut_out(document, spans, headings=self.headings)


def structure_spans(document: Document, counter: TokenCounter, *, max_tokens: int, overlap: int) -> Iterator[Span]:
    """Yield the spans of sections that fit into a chunk, and of the parts of those that do not."""
    packer = Packer(document.text, counter, max_tokens=max_tokens, overlap=overlap)
    for section in sections(document, counter, max_tokens):
        whole = section.tokens <= max_tokens
        for start, end in [(section.start, section.end)] if whole else packer.spans(section.start, section.end):
            yield Span(start, end, section.path)

"""Cuts a Document into parents that read well, and these into children that are found well.

Only children are indexed; where one is found, its parent is read, once for all of its children.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from keepstone.retrieval.chunking.base import Span, check_sizes, cut_out
from keepstone.retrieval.chunking.pack import Packer
from keepstone.retrieval.chunking.structure import structure_spans
from keepstone.retrieval.chunking.tokens import TokenCounter, TokenOffsets
from keepstone.retrieval.types import Chunk, Document


@dataclass(frozen=True, slots=True)
class ParentChild:
    """Cuts along the structure, twice.

    Raises:
        InvalidInput: the overlap is more than half of a child.
    """

    max_tokens: int
    """Longest child, its context not counted."""
    overlap_tokens: int = 0
    """How much of a child the next one of the same parent repeats, at most."""
    headings: bool = True
    """Whether title and headings are indexed with each child."""
    parent_tokens: int = 600
    """Longest parent."""

    name: ClassVar[str] = "parent-child"
    version: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        check_sizes(self.max_tokens, self.overlap_tokens)

    def split(self, document: Document, encoder: TokenOffsets) -> list[Chunk]:
        """See `Chunker.split`."""
        return cut_out(document, self._children(document, encoder), headings=self.headings)

    def _children(self, document: Document, encoder: TokenOffsets) -> Iterator[Span]:
        counter = TokenCounter(document.text, encoder)
        packer = Packer(document.text, counter, max_tokens=self.max_tokens, overlap=self.overlap_tokens)
        for parent in structure_spans(document, counter, max_tokens=self.parent_tokens, overlap=0):
            for start, end in packer.spans(parent.start, parent.end):
                yield Span(start, end, parent.path, wide=(parent.start, parent.end))

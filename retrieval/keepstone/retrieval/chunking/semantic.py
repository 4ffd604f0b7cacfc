"""Cuts a Document where its meaning turns: between the neighbouring sentences that are least alike.

Every sentence is encoded together with the one on either side, and the text is cut where the cosine distance of
neighbours lies beyond a percentile of all distances (Kamradt, "5 Levels of Text Splitting", 2023, as in LangChain's
SemanticChunker). What is too long for a chunk then is cut as `recursive` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from keepstone.retrieval.chunking.base import Span, cut_out, visible
from keepstone.retrieval.chunking.recursive import RecursiveCutter
from keepstone.retrieval.chunking.sentence_window import sentence_spans
from keepstone.retrieval.chunking.tokens import TokenCounter
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.types import Chunk, Document

# Sentences encoded at once, which bounds the memory that their vectors take.
_AT_ONCE: Final = 1024


@dataclass(frozen=True, slots=True)
class Semantic:
    """Cuts where neighbouring sentences are least alike."""

    max_tokens: int
    """Longest chunk, its context not counted."""
    headings: bool = True
    """Whether title and headings are indexed with each chunk."""
    semantic_percentile: float = 95.0
    """Share of the places between sentences, in percent, that are not cut."""

    name: ClassVar[str] = "semantic"
    version: ClassVar[str] = "1"

    def split(self, document: Document, encoder: Encoder) -> list[Chunk]:
        """See `Chunker.split`."""
        text = document.text
        cutter = RecursiveCutter(text, TokenCounter(text, encoder), self.max_tokens, overlap=0)
        spans = (span for part in self._parts(text, encoder) for span in cutter.spans(*part))
        return cut_out(document, starmap(Span, spans), headings=self.headings)

    def _parts(self, text: str, encoder: Encoder) -> Iterator[tuple[int, int]]:
        seen = (visible(text, start, end) for start, end in sentence_spans(text))
        units = [(start, end) for start, end in seen if start < end]
        distances = _distances(text, units, encoder)
        turns: list[int] = []
        if len(distances):
            beyond = distances > np.percentile(distances, self.semantic_percentile)
            turns = (np.flatnonzero(beyond) + 1).tolist()
        return pairwise([0, *(units[at][0] for at in turns), len(text)])


def _distances(text: str, units: list[tuple[int, int]], encoder: Encoder) -> NDArray[np.float32]:
    """Return the cosine distance between each sentence and the next, shape (n - 1,)."""
    found: list[NDArray[np.float32]] = []
    last = len(units) - 1
    before = np.empty((0, encoder.dimension), dtype=np.float32)
    for first in range(0, len(units), _AT_ONCE):
        some = range(first, min(first + _AT_ONCE, len(units)))
        groups = [text[units[max(at - 1, 0)][0] : units[min(at + 1, last)][1]] for at in some]
        vectors = np.concatenate((before, encoder.encode_documents(groups)))
        found.append(1 - np.einsum("ij,ij->i", vectors[:-1], vectors[1:]))
        before = vectors[-1:]
    return np.concatenate(found) if found else np.empty(0, dtype=np.float32)

"""Cuts a Document into sentences; where one is found, it is read with those around it.

A row of a table and an item of a list count as sentences, a piece of code as one; a heading goes with the sentence
below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from keepstone.retrieval.chunking.base import Span, cut_out, visible
from keepstone.retrieval.chunking.breaks import GLUE, SENTENCE, Block, blocks, sentences
from keepstone.retrieval.chunking.recursive import LINES, RecursiveCutter
from keepstone.retrieval.chunking.tokens import TokenCounter, TokenOffsets
from keepstone.retrieval.types import Chunk, Document


@dataclass(frozen=True, slots=True)
class SentenceWindow:
    """Cuts between sentences."""

    max_tokens: int
    """Where longer sentences are cut."""
    headings: bool = True
    """Whether title and headings are indexed with each sentence."""
    window_sentences: int = 3
    """How many sentences on either side are read together with one that is found."""

    name: ClassVar[str] = "sentence-window"
    version: ClassVar[str] = "1"

    def split(self, document: Document, encoder: TokenOffsets) -> list[Chunk]:
        """See `Chunker.split`."""
        text = document.text
        cutter = RecursiveCutter(text, TokenCounter(text, encoder), self.max_tokens, overlap=0)
        spans = [visible(text, *span) for unit in sentence_spans(text) for span in cutter.spans(*unit, LINES)]
        last = len(spans) - 1
        return cut_out(
            document,
            (
                Span(
                    *span,
                    wide=(
                        spans[max(at - self.window_sentences, 0)][0],
                        spans[min(at + self.window_sentences, last)][1],
                    ),
                )
                for at, span in enumerate(spans)
            ),
            headings=self.headings,
        )


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of the sentences of a Markdown text, which cover it all."""
    return pairwise([0, *(start for start in _starts(text) if start), len(text)])


def _starts(text: str) -> Iterator[int]:
    after_heading = False
    for block in blocks(text, 0, len(text)):
        if not after_heading:
            yield block.start
        after_heading = block.kind == "heading"
        yield from _starts_within(text, block)


def _starts_within(text: str, block: Block) -> list[int]:
    """Return where the second and further sentences of a block begin."""
    if block.kind == "table":
        return [at for at, cost in block.lines if cost < GLUE]
    if block.kind != "paragraph":
        return []
    items = (at for at, cost in block.lines if cost < SENTENCE)
    return sorted({*items, *sentences(text, block.start, block.end)})

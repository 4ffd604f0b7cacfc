"""The plain data that passes through retrieval. Spans are half-open and count Unicode code points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Page:
    """The characters of a document's text that stand on one page."""

    number: int
    """Counted from 1."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Heading:
    """A section: from its heading line to the next heading of its level or above."""

    level: int
    """1 for the outermost."""
    title: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Box:
    """Where some characters of a document's text stand on their page: a line, as a rule.

    Places are parts of the page's width and height, from its left and its top, as it is seen.
    """

    start: int
    end: int
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Document:
    """A file turned into text."""

    text: str
    """Markdown. Every span of pages, headings and chunks points into it."""
    media_type: str
    parser: str
    """Name and version of the loader, such as `pdf/1 pypdfium2 5.15.2`."""
    title: str = ""
    language: str | None = None
    """ISO 639-1 code, where it could be told."""
    pages: tuple[Page, ...] = ()
    headings: tuple[Heading, ...] = ()
    boxes: tuple[Box, ...] = ()
    """In the order of the text; what stands in none has no place that is known."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What is known of it besides its text, as JSON can hold it; searches can be narrowed by it."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document: `text == document.text[start:end]`, exactly."""

    text: str
    start: int
    end: int
    ordinal: int
    context: str = ""
    """Title and heading path, indexed together with the text."""
    placement: str = ""
    """What a language model wrote of its place in the document: indexed as well, but never shown or cited."""
    read_in: str = ""
    """sha256 of the document's text, where encoders read it there (late chunking); empty: they read it alone."""
    page: int | None = None
    """Page on which it starts, or what is read in its place."""
    language: str | None = None
    wide: tuple[int, int] | None = None
    """What is read in its place where it is found, which it lies in; None: itself."""

    @property
    def indexed_text(self) -> str:
        """What encoder and lexical index read."""
        return "\n".join(filter(None, (self.context, self.placement, self.text)))


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that search found: `text` is what stands at `start` to `end` of its document, exactly."""

    chunk_id: int
    document_id: str
    document_name: str
    document_sha256: str
    collection_id: str
    text: str
    start: int
    end: int
    page: int | None
    context: str
    score: float
    """What it is ordered by; higher is better. Comparable within one search only."""
    dense_score: float | None
    """Cosine similarity, -1 to 1."""
    lexical_score: float | None
    """BM25, 0 and up."""
    rerank_score: float | None = None
    """By the reranker, on its own scale; None where none read it."""
    found: tuple[int, int] | None = None
    """Span of the chunk that was found, where `text` is more than that: its neighbours, or its parent."""
    fused_score: float = 0.0
    """Convex combination of both scores, standardised over all candidates, whatever orders the hits."""

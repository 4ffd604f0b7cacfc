"""What a chunker is: options in, and then documents into chunks.

chunker = Recursive(max_tokens=200, overlap_tokens=0)
chunks = chunker.split(document, encoder)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import ClassVar, NamedTuple, Protocol

from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.chunking.context import HeadingPaths, context_of
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.language import detect_language
from keepstone.retrieval.types import Chunk, Document


class Chunker(Protocol):
    """A way to cut documents, with its options."""

    name: ClassVar[str]
    """As the setting `chunking.chunker` names it."""
    version: ClassVar[str]
    """Rises whenever the same Document may give other chunks."""

    def split(self, document: Document, encoder: Encoder) -> list[Chunk]:
        """Return the chunks of a document in order.

        Every character that is not white space lies in a chunk; without overlap in exactly one. The same document gives
        the same chunks.

        Args:
            document: as a loader made it.
            encoder: the one that will read the chunks; their sizes are counted in its tokens.
        """


class Span(NamedTuple):
    """A stretch of a document that becomes a chunk."""

    start: int
    end: int
    path: tuple[str, ...] | None = None
    """Titles of the headings that it stands under, outermost first; None: those that all of it stands under."""
    wide: tuple[int, int] | None = None
    """What is read in its place, which it lies in; None: itself."""


def cut_out(document: Document, spans: Iterable[Span], *, headings: bool) -> list[Chunk]:
    """Return the chunks at some spans, without the white space around them; a span of nothing else gives none.

    Args:
        document: whose.
        spans: their beginnings ascend.
        headings: whether title and headings are indexed with each.
    """
    page_starts = [page.start for page in document.pages]
    paths = HeadingPaths(document.headings)
    chunks: list[Chunk] = []
    for span in spans:
        start, end = visible(document.text, span.start, span.end)
        if start == end:
            continue
        text = document.text[start:end]
        wide = visible(document.text, *span.wide) if span.wide else (start, end)
        path = paths.at(start, end) if span.path is None else span.path
        chunks.append(
            Chunk(
                text=text,
                start=start,
                end=end,
                ordinal=len(chunks),
                context=context_of(document.title, path) if headings else "",
                page=document.pages[max(0, bisect_right(page_starts, wide[0]) - 1)].number if page_starts else None,
                language=detect_language(text) or document.language,
                wide=wide if wide != (start, end) else None,
            )
        )
    return chunks


def visible(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a span of a text without the white space at its ends; an empty one where it is nothing else."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())


def check_sizes(max_tokens: int, overlap_tokens: int) -> None:
    """Refuse sizes that do not go together.

    Raises:
        InvalidInput: `overlap_tokens` is more than half of `max_tokens`.
    """
    if max_tokens < 1 or not 0 <= overlap_tokens <= max_tokens // 2:
        raise InvalidInput(
            f"Chunks of {max_tokens} tokens cannot overlap by {overlap_tokens}",
            fix="Set `chunking.overlap_tokens` to at most half of `chunking.max_tokens`",
        )

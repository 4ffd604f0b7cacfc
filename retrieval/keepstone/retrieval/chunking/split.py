"""Cuts a Document into chunks along its structure.

Sections come first (`sections.py`); one that is too long is cut (`pack.py`) at the cheapest breaks (`breaks.py`) near
full length. Tables and code stay whole where they fit. Linear in the length of the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.chunking.pack import Packer
from keepstone.retrieval.chunking.sections import sections
from keepstone.retrieval.chunking.tokens import TokenCounter, TokenOffsets
from keepstone.retrieval.language import detect_language
from keepstone.retrieval.types import Chunk, Document

CHUNKER_VERSION = "1"
"""Rises whenever the same Document may give other chunks."""

_CONTEXT_WORDS = 30
_TITLE_WORDS = 15
_TITLE_CHARS = 120
_WORD = re.compile("[\u3041-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\\W\u3041-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def split(document: Document, *, max_tokens: int, overlap_tokens: int, tokenizer: TokenOffsets) -> list[Chunk]:
    """Return the chunks of a document in order.

    Every character that is not white space lies in a chunk; without overlap in exactly one. The same document gives
    the same chunks.

    Args:
        document: as a loader made it.
        max_tokens: longest chunk, in tokens of `tokenizer`, its context not counted.
        overlap_tokens: how much of a chunk the next one of the same section repeats, at most.
        tokenizer: the encoder's.

    Raises:
        InvalidInput: `overlap_tokens` is more than half of `max_tokens`.
    """
    if max_tokens < 1 or not 0 <= overlap_tokens <= max_tokens // 2:
        raise InvalidInput(
            f"Chunks of {max_tokens} tokens cannot overlap by {overlap_tokens}",
            fix="Set `chunking.overlap_tokens` to at most half of `chunking.max_tokens`",
        )
    counter = TokenCounter(document.text, tokenizer)
    packer = Packer(document.text, counter, max_tokens=max_tokens, overlap=overlap_tokens)
    page_starts = [page.start for page in document.pages]
    chunks: list[Chunk] = []
    for section in sections(document, counter, max_tokens):
        context = context_of(document.title, section.path)
        whole = section.tokens <= max_tokens
        for start, end in [(section.start, section.end)] if whole else packer.spans(section.start, section.end):
            piece = document.text[start:end]
            text = piece.strip()
            if not text:
                continue
            at = start + len(piece) - len(piece.lstrip())
            chunks.append(
                Chunk(
                    text=text,
                    start=at,
                    end=at + len(text),
                    ordinal=len(chunks),
                    context=context,
                    page=document.pages[max(0, bisect_right(page_starts, at) - 1)].number if page_starts else None,
                    language=detect_language(text) or document.language,
                )
            )
    return chunks


def context_of(title: str, path: tuple[str, ...]) -> str:
    """Return "Title > Heading > Subheading" in about 40 tokens.

    Where the first heading and the title say the same, the longer one stays; of a path that is too long the outer
    headings go first.
    """
    parts = [_shortened(part) for part in (title, *path) if part]
    if len(parts) > 1 and (_same(parts[0], parts[1]) or _same(parts[1], parts[0])):
        parts[:2] = [max(parts[:2], key=len)]
    while len(parts) > 2 and sum(len(_WORD.findall(part)) for part in parts) > _CONTEXT_WORDS:
        del parts[1]
    return " > ".join(parts)


def _same(inner: str, outer: str) -> bool:
    """Tell whether a title says what another one says: "Duck" and "Duck - Wikipedia"."""
    return outer.casefold().startswith(inner.casefold())


def _shortened(part: str) -> str:
    part = " ".join(part.split())
    if len(part) <= _TITLE_WORDS:
        return part
    ends = [match.end() for match in _WORD.finditer(part[: 4 * _TITLE_CHARS])]
    return part[: min(ends[_TITLE_WORDS - 1], _TITLE_CHARS)] if len(ends) > _TITLE_WORDS else part[:_TITLE_CHARS]

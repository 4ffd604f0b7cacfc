"""Late chunking: vectors of passages that have seen what stands around them (Günther et al., "Late Chunking", 2024).

for embedded in embed_documents(database, encoder, [(document.text, chunks)], check=job.check_cancelled):
    ...  # `embeddings.store(session, embedded.new_rows)`

The encoder reads windows of the document, as long as it can read, and each passage becomes the mean of its own tokens'
vectors. Windows overlap: a window's passages fill half of it, the other half is what stands before and behind them. A
vector then depends on the whole document, whose hash is part of the key that it is cached under.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keepstone.platform.database import Database
from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.chunking.tokens import TokenCounter
from keepstone.retrieval.embeddings import Embedded, batched, embed, lookup, new_row, passage_hash, text_hash
from keepstone.retrieval.encoder import Encoder, Window, WindowEncoder
from keepstone.retrieval.types import Chunk

SLICE: Final = 512
"""Passages encoded between two commits of the cache: what a kill can cost at most."""
_WINDOWS_AT_ONCE: Final = 64


class _Group(NamedTuple):
    """Neighbouring passages, `first` up to `last`, and the window of the document, in characters, that shows them."""

    first: int
    last: int
    start: int
    end: int


def mark(text: str, chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return passages that are to be encoded as parts of their document."""
    whole = text_hash(text)
    return [replace(chunk, read_in=whole) for chunk in chunks]


def window_encoder(encoder: Encoder) -> WindowEncoder:
    """Return an encoder that reads windows.

    Raises:
        InvalidInput: this one does not.
    """
    if not isinstance(encoder, WindowEncoder):
        raise InvalidInput(
            f"The encoder {encoder.version} gives no vectors of tokens, which late chunking needs",
            fix="Set `chunking.late` to false, or use an installed encoder: `keepstone models list`",
        )
    return encoder


def embed_documents(
    database: Database,
    encoder: Encoder,
    documents: Sequence[tuple[str, Sequence[Chunk]]],
    *,
    check: Callable[[], None],
) -> Iterator[Embedded]:
    """Yield the vectors of all passages of some documents, some hundred at a time; those in the cache are not made.

    Args:
        database: its cache; the caller stores what is new.
        encoder: reads them.
        documents: text and passages of each.
        check: called often; what it raises ends the work.

    Raises:
        InvalidInput: some are to be encoded late, and the encoder cannot do that.
    """
    alone = [chunk.indexed_text for _, chunks in documents for chunk in chunks if not chunk.read_in]
    for texts in batched(alone, SLICE):
        check()
        yield embed(database, encoder, texts)
    for text, chunks in documents:
        if chunks and chunks[0].read_in:
            yield from embed_late(database, encoder, text, chunks, check=check)


def embed_late(
    database: Database, encoder: Encoder, text: str, chunks: Sequence[Chunk], *, check: Callable[[], None]
) -> Iterator[Embedded]:
    """Yield the vectors of the passages of one document, in their order, as `embed_documents` does."""
    reader = window_encoder(encoder)
    keys = [passage_hash(chunk) for chunk in chunks]
    for groups in batched(list(_groups(text, chunks, encoder)), _WINDOWS_AT_ONCE):
        check()
        hashes = keys[groups[0].first : groups[-1].last]
        with database.reading() as session:
            known = lookup(session, encoder.version, hashes)
        missing = [group for group in groups if any(key not in known for key in keys[group.first : group.last])]
        new: dict[str, NDArray[np.float32]] = {}
        vectors = reader.encode_windows([_window(text, chunks, group) for group in missing])
        for group, some in zip(missing, vectors, strict=True):
            new.update(zip(keys[group.first : group.last], some, strict=True))
        known = new | known
        rows = [new_row(encoder, key, known[key]) for key in new]
        yield Embedded(hashes, np.stack([known[key] for key in hashes]), rows)


def _groups(text: str, chunks: Sequence[Chunk], encoder: Encoder) -> Iterator[_Group]:
    counter = TokenCounter(text, encoder)
    before, after = counter.before([each.start for each in chunks]), counter.before([each.end for each in chunks])
    begin, stop, end_of_all = before[0], max(after), max(each.end for each in chunks)
    room = max(1, encoder.max_tokens - max(encoder.count_tokens(head) for head in {_head(each) for each in chunks}))
    most = room if stop - begin <= room else room // 2
    first = 0
    for last in range(1, len(chunks) + 1):
        if last < len(chunks) and after[last] - before[first] <= most:
            continue
        spare = max(0, room - (after[last - 1] - before[first]))
        left = max(begin, min(before[first] - spare // 2, stop - room))
        start, end = chunks[first].start, max(each.end for each in chunks[first:last])
        if left < before[first]:
            start = counter.start_of(left)
        if spare:
            end = min(end_of_all, max(end, counter.start_of(left + room)))
        yield _Group(first, last, start, end)
        first = last


def _window(text: str, chunks: Sequence[Chunk], group: _Group) -> Window:
    spans = tuple((each.start - group.start, each.end - group.start) for each in chunks[group.first : group.last])
    return Window(_head(chunks[group.first]), text[group.start : group.end], spans)


def _head(chunk: Chunk) -> str:
    return f"{chunk.context}\n" if chunk.context else ""

"""Passages as rows of the database, and what encoders and lexical indexes read of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.database.tables import ChangeRow, ChunkRow, DocumentRow
from keepstone.retrieval import embeddings
from keepstone.retrieval.types import Chunk

INDEXED_TEXT: Final[sa.ColumnElement[str]] = (
    sa.case((ChunkRow.context == "", ""), else_=ChunkRow.context + "\n")
    + sa.case((ChunkRow.placement == "", ""), else_=ChunkRow.placement + "\n")
    + ChunkRow.text
).label("indexed_text")
"""`Chunk.indexed_text` of a row."""


def add_chunks(session: Session, document: DocumentRow, chunks: Sequence[Chunk]) -> None:
    """Insert a document's passages and tell the indexes; the caller holds `Database.lock_changes`."""
    if not chunks:
        return
    session.execute(sa.insert(ChunkRow), [_chunk_row(document, chunk) for chunk in chunks])
    new_chunks = (
        sa.select(ChunkRow.collection_id, ChunkRow.id, sa.true())
        .where(ChunkRow.document_id == document.id)
        .order_by(ChunkRow.id)
    )
    session.execute(sa.insert(ChangeRow).from_select(["collection_id", "chunk_id", "added"], new_chunks))


def _chunk_row(document: DocumentRow, chunk: Chunk) -> dict[str, Any]:
    return {
        "document_id": document.id,
        "collection_id": document.collection_id,
        "ordinal": chunk.ordinal,
        "start": chunk.start,
        "end": chunk.end,
        "wide_start": chunk.wide[0] if chunk.wide else None,
        "wide_end": chunk.wide[1] if chunk.wide else None,
        "text": chunk.text,
        "context": chunk.context,
        "placement": chunk.placement,
        "page": chunk.page,
        "language": chunk.language,
        "indexed_sha256": embeddings.passage_hash(chunk),
    }


def chunks_of(session: Session, document_id: str) -> list[Chunk]:
    """Return the passages of a document, in order, as they were cut to be encoded as parts of it."""
    rows = session.scalars(sa.select(ChunkRow).where(ChunkRow.document_id == document_id).order_by(ChunkRow.ordinal))
    return [
        Chunk(row.text, row.start, row.end, row.ordinal, context=row.context, placement=row.placement) for row in rows
    ]

"""Passages as rows of the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.database.tables import ChangeRow, ChunkRow, DocumentRow
from keepstone.retrieval import embeddings
from keepstone.retrieval.types import Chunk


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
        "page": chunk.page,
        "language": chunk.language,
        "indexed_sha256": embeddings.text_hash(chunk.indexed_text),
    }

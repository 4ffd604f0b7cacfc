"""Documents as their people see them, without what lies in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keepstone.platform.database.tables import DocumentRow, DocumentState


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A document without its text."""

    id: str
    collection_id: str
    name: str
    state: DocumentState
    error: str | None
    """Why it failed, and the fix."""
    sha256: str | None
    """Hash of the bytes that its passages were made from; None until it was ready once."""
    size: int
    """Bytes."""
    media_type: str | None
    title: str | None
    language: str | None
    chunks: int
    updated_at: datetime


def document_info(row: DocumentRow) -> DocumentInfo:
    """Return what a row says, without the text."""
    return DocumentInfo(
        id=row.id,
        collection_id=row.collection_id,
        name=row.name,
        state=DocumentState(row.state),
        error=row.error,
        sha256=row.sha256,
        size=row.size,
        media_type=row.media_type,
        title=row.title,
        language=row.language,
        chunks=row.chunk_count,
        updated_at=row.updated_at,
    )

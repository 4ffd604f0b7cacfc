"""Fills a database with passages and changes as ingestion does, without files."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from keepstone.platform.database import Database
from keepstone.platform.database.tables import (
    ChangeRow,
    ChunkRow,
    CollectionRow,
    DocumentRow,
    DocumentState,
    PrincipalRow,
)
from keepstone.platform.errors import ModelMissing
from keepstone.retrieval import embeddings
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.library import remove_chunks


def encoders_of(default: Encoder, *others: Encoder) -> Encoders:
    """Return these encoders and no others."""
    known = {each.version: each for each in others}

    def load(version: str) -> Encoder:
        if version not in known:
            raise ModelMissing(f"The encoder {version!r} is not there")
        return known[version]

    return Encoders(default, load)


def add_collection(database: Database, encoder: Encoder, name: str = "docs") -> str:
    """Make an empty collection and return its id."""
    with database.transaction() as session:
        owner = session.scalar(sa.select(PrincipalRow)) or PrincipalRow(name="ann")
        session.add(owner)
        session.flush()
        row = CollectionRow(name=name, owner_id=owner.id, encoder=encoder.version)
        session.add(row)
        session.flush()
        return row.id


def add_document(
    database: Database, encoder: Encoder, collection_id: str, name: str, texts: Sequence[str], context: str = ""
) -> str:
    """Add a document of these passages, each with the same context, and return its id."""
    indexed = [f"{context}\n{text}" if context else text for text in texts]
    embedded = embeddings.embed(database, encoder, indexed)
    with database.transaction() as session:
        database.lock_changes(session)
        embeddings.store(session, embedded.new_rows)
        row = DocumentRow(collection_id=collection_id, name=name, size=1, sha256="0" * 64, state=DocumentState.READY)
        session.add(row)
        session.flush()
        for ordinal, (text, text_hash) in enumerate(zip(texts, embedded.hashes, strict=True)):
            session.add(
                ChunkRow(
                    document_id=row.id,
                    collection_id=collection_id,
                    ordinal=ordinal,
                    start=0,
                    end=len(text),
                    text=text,
                    context=context,
                    indexed_sha256=text_hash,
                )
            )
        session.flush()
        ids = sa.select(ChunkRow.id).where(ChunkRow.document_id == row.id).order_by(ChunkRow.id)
        for chunk_id in session.scalars(ids).all():
            session.add(ChangeRow(collection_id=collection_id, chunk_id=chunk_id, added=True))
            session.flush()
        return row.id


def remove_document(database: Database, document_id: str) -> None:
    """Take a document away, as the library does."""
    with database.transaction() as session:
        database.lock_changes(session)
        row = session.get_one(DocumentRow, document_id)
        remove_chunks(session, row)
        session.delete(row)


def chunk_ids(database: Database, collection_id: str) -> list[int]:
    """Return the ids of all chunks of a collection, ascending."""
    with database.reading() as session:
        query = sa.select(ChunkRow.id).where(ChunkRow.collection_id == collection_id)
        return list(session.scalars(query.order_by(ChunkRow.id)))

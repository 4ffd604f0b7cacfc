"""A collection cut in another way, beside the one that is searched: a copy that only who opened it can see.

    with open_recut(folder, database, collection_id, encoders=encoders, chunking=chunking) as recut:
        Searcher(recut.database, encoders, recut.indexes, settings.search).search(scope, "How long is the warranty?")

The copy has a database and indexes of its own in its folder, and its documents have the ids and texts of the originals.
So nobody finds anything of it in their searches, and it is gone with the folder. What was copied is not copied again: a
kill costs some documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer

from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, DocumentRow, PrincipalRow
from keepstone.platform.errors import NotFound, storage_errors
from keepstone.platform.settings import ChunkingSettings
from keepstone.retrieval import embeddings
from keepstone.retrieval.chunk_rows import add_chunks
from keepstone.retrieval.chunking.placement import Placer
from keepstone.retrieval.chunking.way import Way, open_way
from keepstone.retrieval.embeddings import batched
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes.catalog import IndexSet
from keepstone.retrieval.late import embed_documents
from keepstone.retrieval.types import Document, Heading, Page

# Documents that are cut, encoded and written at once: what a kill can cost.
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Recut:
    """A copy of a collection, with indexes that are complete."""

    database: Database
    indexes: IndexSet


@contextmanager
def open_recut(
    folder: Path,
    source: Database,
    collection_id: str,
    *,
    encoders: Encoders,
    chunking: ChunkingSettings,
    placer: Placer | None = None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Recut]:
    """Copy the documents of a collection that have a text, cut in another way, and index them.

    Args:
        folder: of the copy alone; one that was begun before for the same cut is finished.
        source: where the collection is.
        collection_id: which.
        encoders: the collection's own makes the vectors.
        chunking: how the copy is cut.
        placer: as ingestion has it; what it is told is kept with `source`, for whoever adopts this cut.
        check: called often; what it raises ends the work.

    Raises:
        NotFound: there is no such collection.
        ModelMissing: its encoder is not installed any more.
        EngineUnavailable: a language model is to be asked, and does not answer.
        StorageFull: no room.
    """
    with ExitStack() as resources:
        with storage_errors("copying a collection"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = Database(f"sqlite:///{folder / 'recut.db'}")
        resources.callback(database.close)
        database.upgrade()
        encoder = encoders.get(_copy_collection(source, database, collection_id))
        way = open_way(chunking, encoder, placer)
        for ids in batched(_left(source, database, collection_id), _AT_ONCE):
            _copy(source, database, ids, way, check)
        indexes = resources.enter_context(IndexSet(database, folder / "indexes", encoders))
        indexes.catch_up(collection_id)
        yield Recut(database, indexes)


def _copy_collection(source: Database, copy: Database, collection_id: str) -> str:
    """Copy the row of a collection, if it was not copied before; return its encoder."""
    with source.reading() as session:
        row = session.get(CollectionRow, collection_id)
    if row is None:
        raise NotFound(f"No collection {collection_id!r}", fix="It may have been deleted; list what is there")
    with copy.transaction() as session:
        known = session.get(CollectionRow, collection_id)
        if known is not None:
            return known.encoder
        session.add(PrincipalRow(id=row.owner_id, name=row.owner_id))
        session.flush()
        session.add(CollectionRow(id=row.id, name=row.name, owner_id=row.owner_id, encoder=row.encoder))
    return row.encoder


def _left(source: Database, copy: Database, collection_id: str) -> list[str]:
    """Return the ids of the documents that are still to be copied."""
    mine = sa.select(DocumentRow.id).where(DocumentRow.collection_id == collection_id)
    with copy.reading() as session:
        done = set(session.scalars(mine))
    with source.reading() as session:
        wanted = session.scalars(mine.where(DocumentRow.sha256.is_not(None)).order_by(DocumentRow.id)).all()
    return [each for each in wanted if each not in done]


def _copy(source: Database, copy: Database, ids: Sequence[str], way: Way, check: Callable[[], None]) -> None:
    whole = (undefer(DocumentRow.text), undefer(DocumentRow.pages), undefer(DocumentRow.headings))
    with source.reading() as session:
        rows = session.scalars(sa.select(DocumentRow).where(DocumentRow.id.in_(ids)).options(*whole)).all()
        documents = [(row, _document(row)) for row in rows]
    cut = []
    for row, document in documents:
        check()
        cut.append((row, document, way.cut(row.id, document, check=check)))
    vectors: list[embeddings.NewEmbedding] = []
    texts = [(document.text, chunks) for _, document, chunks in cut]
    for found in embed_documents(source, way.encoder, texts, check=check):
        known = dict(zip(found.hashes, found.vectors, strict=True))
        vectors += [embeddings.new_row(way.encoder, each, vector) for each, vector in known.items()]
    with copy.transaction() as session:
        copy.lock_changes(session)
        embeddings.store(session, vectors)
        for row, document, chunks in cut:
            add_chunks(session, _copied(session, row, document, len(chunks)), chunks)


def _document(row: DocumentRow) -> Document:
    """Return a document as its loader made it."""
    return Document(
        text=row.text or "",
        media_type=row.media_type or "",
        parser=row.parser or "",
        title=row.title or "",
        language=row.language,
        pages=tuple(Page(*page) for page in row.pages or ()),
        headings=tuple(Heading(*heading) for heading in row.headings or ()),
        details=row.details or {},
    )


def _copied(session: Session, row: DocumentRow, document: Document, chunks: int) -> DocumentRow:
    copied = DocumentRow(
        id=row.id,
        collection_id=row.collection_id,
        name=row.name,
        state=row.state,
        sha256=row.sha256,
        size=row.size,
        text=document.text,
        details=dict(document.details),
        chunk_count=chunks,
    )
    session.add(copied)
    session.flush()
    return copied

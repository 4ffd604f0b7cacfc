"""What `benchmarks.kill_index` kills: a process that adds, replaces, deletes and searches for as long as it lives."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.database import Database
from keepstone.platform.database.tables import (
    ChangeRow,
    ChunkRow,
    CollectionRow,
    DocumentRow,
    DocumentState,
    PrincipalRow,
)
from keepstone.platform.settings import IndexSettings
from keepstone.retrieval import embeddings
from keepstone.retrieval.analysis import tokens
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes import IndexSet
from keepstone.retrieval.library import remove_chunks

ENCODER = HashEncoder(64)
_VOCABULARY = 400
_FEWEST_DOCUMENTS = 100


@dataclass(frozen=True, slots=True)
class Place:
    """The collection that is worked on, and where its indexes are."""

    url: str
    folder: Path
    settings: IndexSettings
    collection_id: str

    def open(self, database: Database) -> IndexSet:
        """Open the indexes as an app does."""
        return IndexSet(database, self.folder, Encoders(ENCODER), settings=self.settings)


def work(place: Place, seed: int, ready: Connection) -> None:
    """Follow the database as an app does, and change it, until the process is killed."""
    chance = random.Random(seed)
    database = Database(place.url)
    with place.open(database) as indexes:
        indexes.catch_up(place.collection_id)
        ready.send(True)
        while True:
            change(database, place.collection_id, chance)
            if chance.random() < 0.7:
                indexes.catch_up(place.collection_id)
            index = indexes.get(place.collection_id)
            question = text(chance)
            allowed = index.words.ids()[::3].tolist() if chance.random() < 0.3 else None
            index.vectors.search(ENCODER.encode_query(question), 10, allowed=allowed)
            index.words.search(tokens(question), 10, allowed=allowed)
            if chance.random() < 0.1:
                indexes.save()
            if chance.random() < 0.05:
                indexes.prune_changes()


def new_collection(database: Database, chance: random.Random) -> str:
    """Make a collection with some documents, and return its id."""
    with database.transaction() as session:
        owner = PrincipalRow(name="ann")
        session.add(owner)
        session.flush()
        row = CollectionRow(name="killed", owner_id=owner.id, encoder=ENCODER.version)
        session.add(row)
        session.flush()
        collection_id = row.id
    for _ in range(_FEWEST_DOCUMENTS):
        _write(database, collection_id, None, _texts(chance))
    return collection_id


def change(database: Database, collection_id: str, chance: random.Random) -> None:
    """Add a document, put another version in the place of one, or delete one."""
    mine = sa.select(DocumentRow.id).where(DocumentRow.collection_id == collection_id).order_by(DocumentRow.id)
    with database.reading() as session:
        documents = list(session.scalars(mine))
    kind = chance.random()
    if kind < 0.4 or len(documents) < _FEWEST_DOCUMENTS:
        _write(database, collection_id, None, _texts(chance))
    elif kind < 0.7:
        _write(database, collection_id, chance.choice(documents), _texts(chance))
    else:
        with database.transaction() as session:
            database.lock_changes(session)
            row = session.get_one(DocumentRow, chance.choice(documents))
            remove_chunks(session, row)
            session.delete(row)


def text(chance: random.Random) -> str:
    """Return some words, of which the first ones of the vocabulary come most often."""
    return " ".join(f"word{int(_VOCABULARY * chance.random() ** 3)}" for _ in range(chance.randint(5, 30)))


def _texts(chance: random.Random) -> list[str]:
    return [text(chance) for _ in range(chance.randint(1, 5))]


def _write(database: Database, collection_id: str, document_id: str | None, texts: Sequence[str]) -> None:
    """Commit a document's passages as ingestion does, in the place of those it had."""
    embedded = embeddings.embed(database, ENCODER, texts)
    with database.transaction() as session:
        database.lock_changes(session)
        embeddings.store(session, embedded.new_rows)
        row = session.get_one(DocumentRow, document_id) if document_id else _document(session, collection_id)
        remove_chunks(session, row)
        chunks = [
            ChunkRow(
                document_id=row.id,
                collection_id=collection_id,
                ordinal=ordinal,
                start=0,
                end=len(text),
                text=text,
                context="",
                indexed_sha256=text_hash,
            )
            for ordinal, (text, text_hash) in enumerate(zip(texts, embedded.hashes, strict=True))
        ]
        session.add_all(chunks)
        session.flush()
        session.add_all(ChangeRow(collection_id=collection_id, chunk_id=each.id, added=True) for each in chunks)


def _document(session: Session, collection_id: str) -> DocumentRow:
    name = f"sheet {secrets.token_hex(6)}"
    row = DocumentRow(collection_id=collection_id, name=name, size=1, sha256="0" * 64, state=DocumentState.READY)
    session.add(row)
    session.flush()
    return row

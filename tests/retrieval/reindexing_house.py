"""A collection that is given other encoders, for the tests of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from keepstone.platform.access import Scope
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, EmbeddingRow
from keepstone.platform.settings import SearchSettings
from keepstone.retrieval import embeddings
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.indexes import IndexSet
from keepstone.retrieval.reindex import Reindexing
from keepstone.retrieval.search import Searcher
from tests.retrieval.corpus import add_collection, add_document, encoders_of


class Counting(HashEncoder):
    """Counts what it encodes, and can be made to fail or to talk nonsense."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self.encoded = 0
        self.before: Callable[[], None] = lambda: None
        self.damaged = False

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.before()
        self.encoded += len(texts)
        vectors = super().encode_documents(texts)
        return np.full_like(vectors, np.nan) if self.damaged else vectors


class House:
    """A database with one collection, its indexes, and three encoders."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.old, self.new, self.third = Counting(16), Counting(32), Counting(24)
        self.encoders = encoders_of(self.old, self.new, self.third)
        self.collection = add_collection(database, self.old)
        self.scope = Scope((self.collection,))
        self.open()

    def open(self) -> None:
        """Begin as a process does at its start."""
        self.indexes = IndexSet(self.database, self.folder, self.encoders, poll_s=0.02)
        self.reindexing = Reindexing(self.database, self.encoders, self.indexes)
        self.searcher = Searcher(self.database, self.encoders, self.indexes, SearchSettings())
        self.indexes.catch_up_all()

    def die(self) -> None:
        """End as a killed process does, so that what was not saved is lost, and start again."""
        self.indexes.stop()
        for entry in self.indexes._open.values():
            entry.index.close()
        self.indexes._held.close()
        self.open()

    def tidy(self) -> None:
        """Do what the upkeep does."""
        self.indexes.prune_changes()
        embeddings.collect_garbage(self.database)
        self.reindexing.follow()

    def live(self) -> str:
        with self.database.reading() as session:
            return session.get_one(CollectionRow, self.collection).encoder

    def add(self, name: str, *texts: str) -> str:
        """Ingest a document under the encoder in use."""
        encoder = self.encoders.get(self.live())
        return add_document(self.database, encoder, self.collection, name, texts)

    def states(self) -> dict[str, str]:
        return {each.encoder: each.state for each in self.reindexing.versions(self.collection)}

    def vectors_of(self, encoder: HashEncoder) -> int:
        with self.database.reading() as session:
            query = sa.select(sa.func.count()).where(EmbeddingRow.encoder == encoder.version)
            return session.scalar(query) or 0

    def assert_whole(self, version: str | None = None) -> None:
        """The index holds exactly the passages of the database, each with its vector under this encoder."""
        report = self.indexes.verify(self.collection, version)
        assert report.ok
        assert self.indexes.get(self.collection, version).vectors.count == report.chunks

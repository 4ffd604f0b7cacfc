"""The backend that keeps vectors and words in PostgreSQL, beside the truth."""

from __future__ import annotations

from contextlib import AbstractContextManager

import sqlalchemy as sa

from keepstone.platform.database import Database
from keepstone.platform.errors import SettingsError
from keepstone.retrieval.indexes.backends import IndexKey
from keepstone.retrieval.indexes.base import EF_SEARCH
from keepstone.retrieval.indexes.pgvector import PgvectorIndex, require_pgvector
from keepstone.retrieval.indexes.postgres import INDEXES, IndexLock, drop, has_indexes
from keepstone.retrieval.indexes.postgres_words import PostgresWords


class PostgresBackend:
    """Indexes in the database that holds the truth.

    Args:
        database: that one.
        ef_search: breadth of the vector search.

    Raises:
        SettingsError: it is no PostgreSQL.
    """

    def __init__(self, database: Database, *, ef_search: int = EF_SEARCH) -> None:
        if database.is_sqlite:
            raise SettingsError(
                "Indexes in PostgreSQL need the database there",
                fix="Set database.url to postgresql+psycopg://..., or leave indexes.vectors and indexes.words unset",
            )
        self._database, self._ef_search = database, ef_search
        self._locks: dict[IndexKey, IndexLock] = {}
        self._has_pgvector = False

    def vectors(self, key: IndexKey, version: str, dimension: int) -> PgvectorIndex:
        """Open the vectors of an index.

        Raises:
            Unavailable: the server has no pgvector, or an old one.
        """
        del version  # the key tells encoders apart
        if not self._has_pgvector:
            require_pgvector(self._database)
            self._has_pgvector = True
        return PgvectorIndex(self._database, self._lock(key), key, dimension=dimension, ef_search=self._ef_search)

    def words(self, key: IndexKey) -> PostgresWords:
        """Open the words of an index."""
        return PostgresWords(self._database, self._lock(key), key)

    def alone(self, key: IndexKey) -> AbstractContextManager[None]:
        """Keep all other processes and threads from changing an index."""
        return self._lock(key).alone()

    def kept(self) -> set[IndexKey]:
        """Return the indexes that any process has written."""
        with self._database.reading() as session:
            if not has_indexes(session.connection()):
                return set()
            return {IndexKey(*row) for row in session.execute(sa.select(INDEXES.c.collection_id, INDEXES.c.encoder))}

    def drop(self, key: IndexKey) -> None:
        """Delete both halves of an index."""
        with self._lock(key).writing() as connection:
            if has_indexes(connection):
                drop(
                    connection,
                    sa.and_(INDEXES.c.collection_id == key.collection_id, INDEXES.c.encoder == key.encoder),
                )

    def _lock(self, key: IndexKey) -> IndexLock:
        return self._locks.setdefault(key, IndexLock(self._database, key))

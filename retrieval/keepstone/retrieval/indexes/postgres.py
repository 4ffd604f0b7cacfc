"""Indexes in the PostgreSQL that holds the truth, shared by all processes that use it.

Each half of an index has tables of its own, named by a hash of collection and encoder, and a row in `derived_indexes`
that tells how far it is. Tables and row change in one transaction, by one process at a time. They are made when first
written, belong to no migration, and can be deleted whenever no process uses them: the next one builds them anew.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from sqlalchemy.orm import Session

from keepstone.platform.database import Database
from keepstone.retrieval.indexes.backends import IndexKey
from keepstone.retrieval.indexes.base import UNBUILT, Position

MAKING_LOCK = 0x4B454552
"""Of PostgreSQL, for making what all indexes share."""
_UNDEFINED_TABLE = "42P01"

_T = TypeVar("_T")

INDEXES = sa.Table(
    "derived_indexes",
    sa.MetaData(),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("collection_id", sa.Text, nullable=False),
    sa.Column("encoder", sa.Text, nullable=False),
    sa.Column("tables", ARRAY(sa.Text), nullable=False),
    sa.Column("format", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("chunks", sa.BigInteger, nullable=False),
    sa.Column("terms", sa.BigInteger, nullable=False),
)
"""One row for each half: where it is in the change sequence, how many chunks it holds, and of how many terms."""


class IndexLock:
    """Lets one thread of all processes change an index.

    It is PostgreSQL's lock of a connection, and what is written goes through that very connection: a process that lost
    its lock, because the server was restarted, cannot write either.
    """

    def __init__(self, database: Database, key: IndexKey) -> None:
        digest = hashlib.sha256(f"{key.collection_id}/{key.encoder}".encode()).digest()
        self._database, self._number = database, int.from_bytes(digest[:8], signed=True)
        self._mine = threading.local()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock; waits until nobody else does."""
        with self._database.worded_errors(), self._database.engine.connect() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(self._number)))
            connection.commit()
            self._mine.connection = connection
            try:
                yield
            finally:
                self._mine.connection = None
                self._release(connection)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Begin a transaction, committed at the end, under the lock."""
        held = getattr(self._mine, "connection", None)
        if held is None:
            with self.alone(), self.writing() as connection:
                yield connection
        else:
            with held.begin():
                yield held

    def _release(self, connection: sa.Connection) -> None:
        try:
            connection.rollback()
            connection.execute(sa.select(sa.func.pg_advisory_unlock(self._number)))
            connection.commit()
        except SQLAlchemyError:
            # The lock ends with the connection.
            connection.invalidate()


@dataclass(slots=True)
class Change:
    """A transaction that changes an index, and what its row is to say afterwards."""

    connection: sa.Connection
    was_built: bool
    """Whether it had a position before."""
    chunks: int
    terms: int


class PostgresIndex:
    """What both halves have in common.

    Args:
        database: a PostgreSQL.
        lock: that of the index, which both halves share.
        key: names the index.
        half: `vectors` or `words`.
        form: of the content; what has another one counts as never built.
    """

    _chunks: sa.Table
    """Has one row for each chunk; its primary key is called `chunk`."""

    def __init__(self, database: Database, lock: IndexLock, key: IndexKey, half: str, form: str) -> None:
        self._database, self._lock, self._key, self._form = database, lock, key, form
        digest = hashlib.sha256(f"{key.collection_id}/{key.encoder}".encode()).hexdigest()
        self._name = f"{half}_{digest[:32]}"
        self._metadata = sa.MetaData()

    @property
    def position(self) -> Position:
        """How far it is in the change sequence, whichever process brought it there."""
        found = self._read(lambda session: session.execute(self._row()).first(), None)
        return Position(found.seq, found.change) if found else UNBUILT

    @property
    def durable_position(self) -> Position:
        """The same: what is applied is committed."""
        return self.position

    @property
    def count(self) -> int:
        """Number of chunks."""
        found = self._read(lambda session: session.execute(self._row()).first(), None)
        return int(found.chunks) if found else 0

    @property
    def memory_bytes(self) -> int:
        """Of this process: none."""
        return 0

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, ascending."""
        chunk = self._chunks.c.chunk
        nothing: list[int] = []
        found = self._read(lambda session: list(session.scalars(sa.select(chunk).order_by(chunk))), nothing)
        return np.array(found, dtype=np.int64)

    def clear(self) -> None:
        """Forget all, and delete the tables."""
        with self._lock.writing() as connection:
            if has_indexes(connection):
                drop(connection, INDEXES.c.name == self._name)

    def save(self) -> None:
        """Do nothing: every change is durable."""

    def close(self) -> None:
        """Do nothing: connections belong to the database's pool."""

    def _read(self, ask: Callable[[Session], _T], nothing: _T) -> _T:
        """Return what `ask` finds in one snapshot; what was never written, or was dropped, holds nothing."""
        with self._database.reading() as session:
            try:
                return ask(session)
            except ProgrammingError as error:
                if getattr(error.orig, "sqlstate", None) != _UNDEFINED_TABLE:
                    raise
                return nothing

    def _row(self) -> sa.Select[Any]:
        return sa.select(INDEXES).where(INDEXES.c.name == self._name, INDEXES.c.format == self._form)

    @contextmanager
    def _changing(self, position: Position) -> Iterator[Change]:
        """Begin a transaction that takes the index to `position`; makes the tables where they are missing."""
        with self._lock.writing() as connection:
            row = self._made(connection)
            change = Change(connection, row.seq != UNBUILT.seq, int(row.chunks), int(row.terms))
            yield change
            connection.execute(
                sa.update(INDEXES)
                .where(INDEXES.c.name == self._name)
                .values(seq=position.seq, change=position.check, chunks=change.chunks, terms=change.terms)
            )

    def _made(self, connection: sa.Connection) -> sa.Row[Any]:
        """Return the index's row; without one, begin anew."""
        seen = sa.inspect(connection)
        if not seen.has_table(INDEXES.name):
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MAKING_LOCK)))
            INDEXES.create(connection, checkfirst=True)
        row = connection.execute(self._row()).first()
        if row is not None and all(seen.has_table(name) for name in row.tables):
            return row
        drop(connection, INDEXES.c.name == self._name)
        self._metadata.drop_all(connection)
        self._metadata.create_all(connection)
        connection.execute(
            insert(INDEXES).values(
                name=self._name,
                collection_id=self._key.collection_id,
                encoder=self._key.encoder,
                tables=sorted(self._metadata.tables),
                format=self._form,
                seq=UNBUILT.seq,
                change=UNBUILT.check,
                chunks=0,
                terms=0,
            )
        )
        return connection.execute(self._row()).one()


def drop(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Delete halves of indexes with their tables."""
    for tables in connection.scalars(sa.delete(INDEXES).where(which).returning(INDEXES.c.tables)).all():
        for name in tables:
            sa.Table(name, sa.MetaData()).drop(connection, checkfirst=True)


def has_indexes(connection: sa.Connection) -> bool:
    """Tell whether an index was ever written here."""
    return sa.inspect(connection).has_table(INDEXES.name)


def among(column: sa.ColumnElement[int], ids: Sequence[int]) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of these values, however many there are."""
    return column == sa.any_(numbers([int(each) for each in ids]))


def numbers(values: list[int]) -> sa.ColumnElement[list[int]]:
    """Return an array of numbers as one parameter of a statement."""
    return sa.literal(values, ARRAY(sa.BigInteger))


def texts(values: list[str]) -> sa.ColumnElement[list[str]]:
    """Return an array of texts as one parameter of a statement."""
    return sa.literal(values, ARRAY(sa.Text))

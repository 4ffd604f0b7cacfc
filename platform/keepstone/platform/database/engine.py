"""Connections and transactions, alike on SQLite (WAL) and PostgreSQL.

database = Database(settings.database_url)
database.upgrade()
with database.transaction() as session: ...
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from keepstone.platform.errors import KeepstoneError, StorageFull, Unavailable

# One lock for all writers of the change sequence: PostgreSQL hands out numbers before commit, so without it a reader
# could see number 6 while 5 is still on its way and never look back.
_CHANGES_LOCK = 0x4B454550


class Database:
    """A pool of connections to the one database.

    Args:
        url: SQLAlchemy URL, `sqlite:///path` or `postgresql+psycopg://...`.
    """

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self.engine = _create_engine(self._url)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a session that writes: all of it is committed at the end, or none of it.

        On SQLite the write lock is taken at once, so a transaction that reads first never fails for a lost race.
        """
        with self._worded_errors(), self._sessions() as session, session.begin():
            if self.is_sqlite:
                session.execute(sa.text("BEGIN IMMEDIATE"))
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads, from one consistent snapshot."""
        with self._worded_errors(), self._sessions() as session:
            if self.is_sqlite:
                session.execute(sa.text("BEGIN DEFERRED"))
            else:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    def lock_changes(self, session: Session) -> None:
        """Let this transaction alone append to the change sequence until it ends."""
        if not self.is_sqlite:
            session.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHANGES_LOCK})

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema to `revision`; does nothing when it is there already."""
        from keepstone.platform.database.migrate import upgrade

        with self._worded_errors():
            upgrade(self.engine, revision)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _worded_errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            worded = self._word(error)
            if worded is None:
                raise
            raise worded from error

    def _word(self, error: DBAPIError) -> KeepstoneError | None:
        original = error.orig
        code = getattr(original, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_FULL or getattr(original, "sqlstate", None) == "53100":
            return StorageFull("No space left on the database's disk", fix="Free some space and try again")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return Unavailable(
                f"The database file {self._url.database} is damaged",
                fix="Put back a backup, or move the file away to start anew",
            )
        if isinstance(error, OperationalError) and (error.connection_invalidated or not self.is_sqlite):
            return Unavailable(
                f"The database at {self._url.render_as_string(hide_password=True)} does not answer",
                fix="Start it, or mend database.url in keepstone.toml",
            )
        return None


def _create_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": 30}, pool_size=10, max_overflow=20)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, record: Any) -> None:
        del record
        # We begin transactions ourselves (BEGIN IMMEDIATE for writers); the driver must not.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA busy_timeout=30000")

    return engine

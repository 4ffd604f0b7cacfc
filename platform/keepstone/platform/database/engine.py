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
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from keepstone.platform.database.wording import unstorable, worded
from keepstone.platform.errors import SettingsError, Unavailable, storage_errors

# One lock for all writers of the change sequence: PostgreSQL hands out numbers before commit, so without it a reader
# could see number 6 while 5 is still on its way and never look back.
_CHANGES_LOCK = 0x4B454550
_BLOBS_LOCK = _CHANGES_LOCK + 1
_BUSY_MS = 30_000
_VALID = "Valid: postgresql+psycopg://user:password@host/keepstone, or leave it out for SQLite in the home folder"


class Database:
    """A pool of connections to the one database.

    Args:
        url: SQLAlchemy URL, `sqlite:///path` or `postgresql+psycopg://...`.

    Raises:
        SettingsError: it is no such URL, or the driver is not installed.
        Unavailable: the folder of the SQLite file cannot be made.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
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
        with self.worded_errors(), self._sessions() as session, session.begin():
            if self.is_sqlite:
                session.execute(sa.text("BEGIN IMMEDIATE"))
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads, from one consistent snapshot."""
        with self.worded_errors(), self._sessions() as session:
            if self.is_sqlite:
                session.connection().exec_driver_sql("BEGIN DEFERRED")
            else:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    def lock_changes(self, session: Session) -> None:
        """Let this transaction alone append to the change sequence until it ends."""
        self._lock(session, _CHANGES_LOCK)

    def lock_blobs(self, session: Session) -> None:
        """Let this transaction alone begin to refer to blobs, or remove them, until it ends."""
        self._lock(session, _BLOBS_LOCK)

    def _lock(self, session: Session, key: int) -> None:
        # On SQLite a transaction that writes is alone anyway.
        if not self.is_sqlite:
            session.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    def empty_log(self) -> None:
        """Move what SQLite's write-ahead log holds into the file, and empty the log: it keeps what was deleted since.

        Somebody who reads or writes meanwhile is not waited for; then the log stays. PostgreSQL does this by itself.
        """
        if not self.is_sqlite:
            return
        with self.worded_errors(), self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")
            try:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={_BUSY_MS}")

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema to `revision`; does nothing when it is there already."""
        from keepstone.platform.database.migrate import upgrade

        with self.worded_errors():
            upgrade(self.engine, revision)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def worded_errors(self) -> Iterator[None]:
        """Turn the driver's errors in the block into ours, as `transaction` and `reading` do by themselves."""
        try:
            yield
        except DBAPIError as error:
            ours = worded(error, self._url)
            if ours is None:
                raise
            raise ours from error
        except UnicodeEncodeError as error:
            raise unstorable() from error


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except ArgumentError as error:
        raise SettingsError("database.url is not a database URL", fix=_VALID) from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        raise SettingsError(f"database.url names {parsed.get_backend_name()!r}", fix=_VALID)
    return parsed


def _create_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        try:
            return sa.create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
        except ImportError as error:
            raise SettingsError(
                "The PostgreSQL driver is missing", fix='`pip install "keepstone[postgres]"`'
            ) from error
    if url.database and url.database != ":memory:":
        _make_file(Path(url.database))
    engine = sa.create_engine(url, connect_args={"timeout": 30}, pool_size=10, max_overflow=20)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, record: Any) -> None:
        del record
        # We begin transactions ourselves (BEGIN IMMEDIATE for writers); the driver must not.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        # Overwrites what is deleted. FAST would leave the pages that become free, which is where long texts were.
        connection.execute("PRAGMA secure_delete=ON")

    return engine


def _make_file(path: Path) -> None:
    """Make the file of the database, so that nobody else may read it; SQLite gives its log the same rights."""
    folder = path.parent
    try:
        with storage_errors(f"making {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.touch(mode=0o600)
    except OSError as error:
        raise Unavailable(
            f"The folder {folder} cannot be made ({error.strerror})", fix="Choose another by KEEPSTONE_HOME"
        ) from error

"""What the errors of SQLite and PostgreSQL mean for people, and what mends them."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, OperationalError

from keepstone.platform.errors import InvalidInput, KeepstoneError, StorageFull, Unavailable

_DISK_FULL = "53100"
_SERIALIZATION = ("40001", "40P01")


def worded(error: DBAPIError, url: sa.URL) -> KeepstoneError | None:
    """Return the error in our words, or None when it is a fault of the program."""
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF, url)
    state = getattr(error.orig, "sqlstate", None)
    if state == _DISK_FULL:
        return _full()
    if state in _SERIALIZATION:
        return _busy()
    if isinstance(error, OperationalError):
        return Unavailable(
            f"The database at {url.render_as_string(hide_password=True)} does not answer",
            fix="Start it, or mend database.url in keepstone.toml",
        )
    if isinstance(error, DataError):
        return unstorable()
    return None


def unstorable() -> InvalidInput:
    """Return the error for text that no database can hold: NUL characters or halves of surrogate pairs."""
    return InvalidInput("The text contains characters that cannot be stored", fix="Remove them and try again")


def _sqlite(code: int, url: sa.URL) -> KeepstoneError | None:
    if code == sqlite3.SQLITE_FULL:
        return _full()
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _busy()
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Unavailable(
            f"The database file {url.database} is damaged",
            fix="Put back a backup, or move the file away to start anew",
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR):
        return Unavailable(
            f"The database file {url.database} cannot be opened, read or written",
            fix="Check who owns it and that its disk works, or choose another folder by KEEPSTONE_HOME",
        )
    return None


def _full() -> StorageFull:
    return StorageFull("No space left on the database's disk", fix="Free some space and try again")


def _busy() -> Unavailable:
    return Unavailable("The database was too busy", fix="Try again in a moment")

"""Schema changes, by Alembic without an ini file, from the revisions in `migrations/versions`.

    upgrade(engine)             at each start; one short query when nothing is to be done
    downgrade(engine, "base")   back down, removing what the undone revisions added

Revisions form one line and are named `NNNN_words.py`. To add one: change `tables.py`, run
`python -m keepstone.platform.database.migrate the words`, and check by hand what it wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from keepstone.platform.errors import KeepstoneError

if TYPE_CHECKING:
    from alembic.config import Config

_SCRIPTS = Path(__file__).parent / "migrations"
_VERSIONS = sa.table("alembic_version", sa.column("version_num", sa.String))
_POSTGRES_LOCK = 0x4B45454D
_WAIT_MS = 600_000


def upgrade(engine: sa.Engine, revision: str = "head") -> None:
    """Bring the schema up to `revision`: all of it or, when that fails or the process dies, none of it.

    Any number of processes may call this at once; one does the work while the others wait.

    Raises:
        KeepstoneError: the database was written by a newer Keepstone.
    """
    target = head() if revision == "head" else revision
    if current(engine) == target:
        return

    def run(config: Config) -> None:
        from alembic import command

        command.upgrade(config, target)

    _run(engine, target, run)


def downgrade(engine: sa.Engine, revision: str) -> None:
    """Bring the schema down to `revision` (`base` empties the database). Data that has no place there is lost.

    Raises:
        KeepstoneError: the database was written by a newer Keepstone.
    """

    def run(config: Config) -> None:
        from alembic import command

        command.downgrade(config, revision)

    _run(engine, None if revision == "base" else revision, run)


def current(engine: sa.Engine) -> str | None:
    """Return the revision that the database is at, or None when it is empty."""
    with engine.connect() as connection:
        return _current(connection)


def check(engine: sa.Engine) -> bool:
    """Tell whether the database is at the revision that this code wants."""
    return current(engine) == head()


def head() -> str:
    """Return the newest revision that this code knows."""
    return max(path.name for path in (_SCRIPTS / "versions").glob("[0-9]*.py")).partition("_")[0]


def _current(connection: sa.Connection) -> str | None:
    try:
        return connection.scalar(sa.select(_VERSIONS.c.version_num))
    except DBAPIError:
        connection.rollback()
        if sa.inspect(connection).has_table(_VERSIONS.name):
            raise
        return None


def _run(engine: sa.Engine, target: str | None, action: Callable[[Config], None]) -> None:
    with engine.connect() as connection:
        begin = _sqlite_transaction if engine.dialect.name == "sqlite" else _postgres_transaction
        with begin(connection):
            table_exists = sa.inspect(connection).has_table(_VERSIONS.name)
            present = _current(connection) if table_exists else None
            if present == target:
                return
            if present is not None and present > head():
                raise KeepstoneError(
                    f"The database is at revision {present}, which a newer Keepstone wrote; this one knows {head()}",
                    fix="Install the newer Keepstone again, or restore a backup made before the upgrade",
                )
            action(_config(connection))
            if target is None:
                connection.execute(sa.text(f"DROP TABLE {_VERSIONS.name}"))


@contextmanager
def _postgres_transaction(connection: sa.Connection) -> Iterator[None]:
    with connection.begin():
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
        yield


@contextmanager
def _sqlite_transaction(connection: sa.Connection) -> Iterator[None]:
    """Write alone, with foreign keys off: rebuilding a table drops the old one, and with it what refers to it."""
    patience_ms = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
    connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    connection.exec_driver_sql(f"PRAGMA busy_timeout={_WAIT_MS}")
    connection.commit()
    try:
        with connection.begin():
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
            assert broken is None, f"the revision leaves rows of {broken[0]} that refer to nothing"
    finally:
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        connection.exec_driver_sql(f"PRAGMA busy_timeout={patience_ms}")
        connection.commit()


def _config(connection: sa.Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def _write_revision(message: str) -> None:
    from alembic import command

    engine = sa.create_engine("sqlite://")
    upgrade(engine)
    with engine.connect() as connection:
        command.revision(_config(connection), message, autogenerate=True, rev_id=f"{int(head()) + 1:04d}")


if __name__ == "__main__":
    _write_revision(" ".join(sys.argv[1:]))

"""`keepstone db`: the schema of the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from keepstone.ui.cli.context import hush, load_settings
from keepstone.ui.cli.output import emit

if TYPE_CHECKING:
    from keepstone.platform.database import Database

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Bring the schema up to this version's; `keepstone up` does it too."""
    from keepstone.platform.database import migrate

    with opened() as database:
        before = migrate.current(database.engine)
        database.upgrade()
        after = migrate.current(database.engine)
    done = f"Upgraded from {before or 'an empty database'} to {after}." if before != after else f"Already at {after}."
    emit({"before": before, "current": after}, done)


@app.command()
def current() -> None:
    """Show which revision the database is at, and which this version wants."""
    from keepstone.platform.database import migrate

    with opened() as database:
        present = migrate.current(database.engine)
    head = migrate.head()
    wants = "" if present == head else f"; this version wants {head}: run `keepstone db upgrade`"
    emit({"current": present, "head": head}, f"{present or 'empty'}{wants}")


@contextmanager
def opened() -> Iterator[Database]:
    """Open the database of the settings, as it is."""
    from keepstone.platform.database import Database

    settings = load_settings()
    hush(settings)
    # Nobody else may look into the folder, whichever command makes it.
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(settings.database_url)
    try:
        yield database
    finally:
        database.close()

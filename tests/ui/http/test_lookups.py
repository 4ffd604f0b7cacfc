"""Questions over the connection that stays open: they see what others wrote at once, and survive a failed one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from keepstone.platform.accounts import create_principal
from keepstone.platform.database import Database
from keepstone.ui.http.lookups import Lookups

NAMES = sa.text("SELECT name FROM principals ORDER BY name")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'k.db'}")
    opened.upgrade()
    yield opened
    opened.close()


def names(connection: sa.Connection) -> list[str]:
    return list(connection.execute(NAMES).scalars())


async def test_what_others_wrote_is_seen_at_once(database: Database, tmp_path: Path) -> None:
    """A revoked key must not work on because the connection still reads an old snapshot."""
    lookups = Lookups(database, f"sqlite:///{tmp_path / 'k.db'}")
    seen = []
    for name in ("ann", "bob"):
        with database.transaction() as session:
            create_principal(session, name)
        seen.append(await lookups.ask(names))
    lookups.close()
    assert seen == [["ann"], ["ann", "bob"]]


async def test_a_question_that_fails_spoils_no_later_one(database: Database, tmp_path: Path) -> None:
    lookups = Lookups(database, f"sqlite:///{tmp_path / 'k.db'}")
    with pytest.raises(sa.exc.OperationalError):
        await lookups.ask(lambda connection: connection.execute(sa.text("SELECT * FROM nothing")).all())
    assert await lookups.ask(names) == []
    lookups.close()

"""A run belongs to one process at a time; one that gives no sign of life loses it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa

from keepstone.agents.react import leases as module
from keepstone.agents.react.leases import RunLeases, keep_leases
from keepstone.agents.react.live import LiveRun
from keepstone.platform.accounts import ensure_local_admin
from keepstone.platform.database import Database
from keepstone.platform.database.tables import AgentRunRow, utc_now


def begun(database: Database, worker: str | None, *, silent: timedelta = timedelta()) -> str:
    """Store a run of a process whose last sign of life was so long ago."""
    with database.transaction() as session:
        row = AgentRunRow(
            principal_id=ensure_local_admin(session).id,
            scopes=["read"],
            question="How long?",
            budget={},
            worker=worker,
            updated_at=utc_now() - silent,
        )
        session.add(row)
        session.flush()
        return row.id


def worker_of(database: Database, run_id: str) -> str | None:
    with database.reading() as session:
        return session.get_one(AgentRunRow, run_id).worker


def test_a_start_takes_what_is_its_own_or_nobodys(both_databases: Database) -> None:
    mine, theirs = begun(both_databases, "a"), begun(both_databases, "b")
    nobodys, dead = begun(both_databases, None), begun(both_databases, "c", silent=timedelta(minutes=5))
    leases = RunLeases(both_databases, "a")
    expected = [mine, nobodys, dead] if leases.shared else [mine, theirs, nobodys, dead]
    assert leases.claim() == expected
    assert worker_of(both_databases, dead) == "a"
    assert worker_of(both_databases, theirs) == ("b" if leases.shared else "a")


def test_two_processes_never_adopt_the_same_run(both_databases: Database) -> None:
    orphan, alive = begun(both_databases, "gone", silent=timedelta(minutes=5)), begun(both_databases, "b")
    first, second = RunLeases(both_databases, "a"), RunLeases(both_databases, "b")
    assert first.adopt() == [orphan]
    assert second.adopt() == []
    assert first.renew([orphan, alive]) == {orphan}
    assert second.renew([orphan, alive]) == {alive}


def test_a_run_that_is_over_is_nobodys_to_renew(both_databases: Database) -> None:
    run_id = begun(both_databases, "a")
    with both_databases.transaction() as session:
        session.execute(sa.update(AgentRunRow).values(state="cancelled"))
    assert RunLeases(both_databases, "a").renew([run_id]) == set()
    assert RunLeases(both_databases, "a").claim() == []


async def test_orphans_are_taken_up_and_what_was_lost_is_let_go(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a process slept so long that another one took its runs over."""
    monkeypatch.setattr(module, "_CARE_EVERY_S", 0.01)
    lost, orphan = begun(database, "b"), begun(database, "gone", silent=timedelta(minutes=5))
    working = asyncio.create_task(asyncio.sleep(60))
    taken: list[str] = []
    keeper = asyncio.create_task(keep_leases(RunLeases(database, "a"), {lost: LiveRun(task=working)}, taken.extend))
    await asyncio.wait((working,), timeout=20)
    assert working.cancelled()
    assert taken == [orphan]
    keeper.cancel()

"""Checkpoints are one row of plain JSON for each run, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from langgraph.checkpoint.base import Checkpoint

from keepstone.agents.react.checkpoints import DatabaseSaver
from keepstone.platform.database import Database
from keepstone.platform.database.tables import AgentCheckpointRow, AgentRunRow, PrincipalRow


def checkpoint(number: int, **values: Any) -> Checkpoint:
    return Checkpoint(
        v=4,
        id=f"{number:04}",
        ts="2026-01-01T00:00:00+00:00",
        channel_values=values,
        channel_versions={"question": number},
        versions_seen={"decide": {"question": number}},
        updated_channels=["question"],
    )


CONFIG: Any = {"configurable": {"thread_id": "run_1", "checkpoint_ns": ""}}
INFO: Any = {"source": "loop", "step": 1, "parents": {}}


@pytest.fixture
def saver(both_databases: Database) -> DatabaseSaver:
    with both_databases.transaction() as session:
        session.add(PrincipalRow(id="p", name="ann"))
        session.flush()
        session.add(AgentRunRow(id="run_1", principal_id="p", scopes=[], question="q", budget={}))
    return DatabaseSaver(both_databases)


def test_the_latest_checkpoint_is_kept(saver: DatabaseSaver, both_databases: Database) -> None:
    assert saver.get_tuple(CONFIG) is None
    for number in (1, 2):
        saver.put(CONFIG, checkpoint(number, question=f"Größe {number} \N{GRINNING FACE}", steps=[1]), INFO, {})
    found = saver.get_tuple(CONFIG)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"question": "Größe 2 \N{GRINNING FACE}", "steps": [1]}
    assert found.checkpoint["channel_versions"] == {"question": 2}
    assert found.config["configurable"]["checkpoint_id"] == "0002"
    assert list(saver.list(CONFIG)) == [found]
    with both_databases.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(AgentCheckpointRow)) == 1


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", float("nan"), RuntimeError("x")])
def test_nothing_but_json_is_kept(saver: DatabaseSaver, value: object) -> None:
    """No object comes back by the name of its class, since none goes in."""
    with pytest.raises((TypeError, ValueError)):
        saver.put(CONFIG, checkpoint(1, steps=[value]), INFO, {})
    assert saver.get_tuple(CONFIG) is None


async def test_a_run_can_be_forgotten(saver: DatabaseSaver) -> None:
    await saver.aput(CONFIG, checkpoint(1), INFO, {})
    assert await saver.aget_tuple(CONFIG) is not None
    await saver.adelete_thread("run_1")
    assert [each async for each in saver.alist(CONFIG)] == []

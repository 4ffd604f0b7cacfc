"""A build goes on after a restart, and gives what an unbroken one gives."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from keepstone.platform.database.tables import JobState
from keepstone.platform.serving.engine import ChatRequest
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.training.data import DatasetConfig
from tests.stack import WAIT_S, admin, ingest, open_stack
from tests.training.data.conftest import CHUNKING
from tests.training.data.handbooks import ask, handbooks


def test_a_build_goes_on_at_the_next_start_and_gives_the_same(tmp_path: Path) -> None:
    order = DatasetConfig(collection="handbooks", name="whole", source="written")
    built = []

    def slowly(request: ChatRequest) -> str:
        time.sleep(0.03)
        return ask(request)

    def opened(engine: ScriptedEngine) -> Any:
        return open_stack(tmp_path / "home", engine=engine, chunking=CHUNKING)

    with opened(ScriptedEngine(default=slowly)) as first:
        ingest(first, admin(first), "handbooks", handbooks(12))
        job_id = first.dataset_builder.submit(admin(first), order)
        deadline = time.monotonic() + WAIT_S
        while first.jobs.get(job_id).done < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    with opened(ScriptedEngine(default=ask)) as second:
        assert second.jobs.wait(job_id, WAIT_S).state == JobState.SUCCEEDED
        built.append(second.datasets.get(admin(second), "whole"))
        again = second.dataset_builder.submit(admin(second), order)
        assert second.jobs.wait(again, WAIT_S).state == JobState.SUCCEEDED
        built.append(second.datasets.get(admin(second), "whole"))
        assert [each.built.job for each in built if each.built] == [job_id, again]
    assert built[0].id == built[1].id
    assert [path for path in (tmp_path / "home" / "datasets").iterdir() if path.name.startswith(".")] == []

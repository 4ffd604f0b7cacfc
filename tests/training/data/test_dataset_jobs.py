"""Datasets through the queue: who may order and see them, and how a build ends."""

from __future__ import annotations

from typing import Any

import pytest

from keepstone.platform.database.tables import JobState
from keepstone.platform.errors import Forbidden, NotFound
from keepstone.training.data import DatasetConfig
from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, someone


def test_only_who_owns_the_collection_builds_sees_and_deletes(bench: Any) -> None:
    runtime: Runtime = bench.runtime
    owner, reader, stranger = (someone(runtime, name) for name in ("olga", "rita", "sam"))
    runtime.library.grant(bench.me, bench.collection, "olga", "owner")
    runtime.library.grant(bench.me, bench.collection, "rita", "writer")
    order = DatasetConfig(collection=bench.collection, name="owned")
    with pytest.raises(NotFound):
        runtime.dataset_builder.submit(stranger, order)
    with pytest.raises(Forbidden, match="owns"):
        runtime.dataset_builder.submit(reader, order)
    job_id = runtime.dataset_builder.submit(owner, order)
    assert runtime.jobs.wait(job_id, WAIT_S).state == JobState.SUCCEEDED
    assert runtime.datasets.get(owner, "owned").built is not None
    for other in (reader, stranger):
        assert runtime.datasets.list(other) == []
        with pytest.raises(NotFound):
            runtime.datasets.get(other, "owned")
        with pytest.raises(NotFound):
            runtime.datasets.remove(other, "owned")
    runtime.datasets.remove(owner, "owned")
    with pytest.raises(NotFound):
        runtime.datasets.get(owner, "owned")


def test_who_loses_the_right_meanwhile_gets_nothing(bench: Any) -> None:
    runtime: Runtime = bench.runtime
    former = someone(runtime, "fred")
    runtime.library.grant(bench.me, bench.collection, "fred", "owner")
    job, builder = bench.job(by=former, name="lost"), bench.builder()
    *units, last = builder.plan(job)
    for unit in units:
        builder.run(job, unit)
    runtime.library.revoke(bench.me, bench.collection, "fred")
    with pytest.raises(NotFound):
        builder.run(job, last)
    assert "lost" not in {each.card.name for each in bench.datasets.list()}


def test_a_failed_build_says_why_and_leaves_nothing(bench: Any) -> None:
    runtime: Runtime = bench.runtime
    runtime.library.create_collection(bench.me, "bare")
    job_id = runtime.dataset_builder.submit(bench.me, DatasetConfig(collection="bare"))
    job = runtime.jobs.wait(job_id, WAIT_S)
    assert job.state == JobState.FAILED
    assert "too few documents" in (job.error or "")
    assert "bare" not in {each.card.name for each in bench.datasets.list()}


def test_a_model_that_only_quotes_is_not_asked_for_questions(bench: Any) -> None:
    assert bench.builder().source_of(DatasetConfig(collection="c")) == "written"
    asked = len(bench.engine.history)
    dataset = bench.build(source="sentences", name="quoting")
    assert len(bench.engine.history) == asked
    assert set(dataset.card.kinds) == {"heading", "keywords", "sentence"}
    assert {row.kind for row in dataset.retrieval("test")} == {"heading", "keywords"}
    for row in dataset.retrieval("train"):
        assert row.kind != "sentence" or row.question not in row.positive

"""A collection of made-up handbooks in a whole runtime, and builds of it by hand, unit by unit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keepstone.agents.types import AnsweringModel
from keepstone.platform.access import Principal
from keepstone.platform.database.tables import new_id
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.training.data import Dataset, DatasetBuilder, DatasetConfig, Datasets
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest, open_stack
from tests.training.data.handbooks import ask, handbooks

CHUNKING = {"max_tokens": 64}


class Bench:
    """Builds datasets of a collection without the queue of jobs."""

    def __init__(self, runtime: Runtime, engine: ScriptedEngine, collection: str) -> None:
        self.runtime, self.engine, self.collection = runtime, engine, collection
        self.me = admin(runtime)
        self.datasets = Datasets(runtime.settings.home / "datasets")

    def builder(self) -> DatasetBuilder:
        """Return a builder that knows nothing of earlier ones, as in a new process."""
        runtime = self.runtime
        return DatasetBuilder(
            database=runtime.database,
            searcher=runtime.searcher,
            encoders=runtime.encoders,
            indexes=runtime.indexes,
            engine=self.engine,
            connect=lambda: self.engine,
            model=AnsweringModel("scripted", "1", "write"),
            answering=runtime.settings.answering,
            datasets=self.datasets,
            jobs=Jobs(runtime.database, "sqlite://"),
        )

    def job(self, by: Principal | None = None, **config: Any) -> JobInfo:
        """Return an order, as the queue would hand it to the builder."""
        found = self.runtime.library.collection(self.me, self.collection)
        order = DatasetConfig(collection=found.id, name=config.pop("name", self.collection), **config)
        by = by or self.me
        args = {"config": order.model_dump(mode="json"), "scopes": sorted(by.scopes)}
        return JobInfo(new_id("job"), "dataset", args, principal_id=by.id, collection_id=found.id)

    def build(self, **config: Any) -> Dataset:
        """Build a dataset without interruption."""
        builder, job = self.builder(), self.job(**config)
        for unit in builder.plan(job):
            builder.run(job, unit)
        builder.finish(job, None)
        return self.built_by(job)

    def built_by(self, job: JobInfo) -> Dataset:
        """Return the dataset that a job built."""
        return next(each for each in self.datasets.list() if each.built and each.built.job == job.id)


@pytest.fixture(scope="module")
def make_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Bench]]:
    """Return a function that makes a collection of files, each in the same runtime."""
    engine = ScriptedEngine(default=ask)
    home: Path = tmp_path_factory.mktemp("home")
    names = (f"handbooks-{number}" for number in itertools.count())
    with open_stack(home, engine=engine, chunking=CHUNKING, answering={"style": "write"}) as runtime:

        def make(files: dict[str, bytes], own: ScriptedEngine | None = None) -> Bench:
            name = next(names)
            ingest(runtime, admin(runtime), name, files)
            return Bench(runtime, own or engine, name)

        yield make


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """Return a collection of sixteen different handbooks."""
    return make_bench(handbooks(16))

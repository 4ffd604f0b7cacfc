"""The job `improve` over stand-ins of the services that it orders from: real jobs that do what a test tells them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from keepstone.platform.access import Principal
from keepstone.platform.accounts import SCOPES, ensure_local_admin
from keepstone.platform.database import Database
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.training.data import Dataset
from keepstone.training.data.store import open_dataset
from keepstone.training.improve.config import ImproveConfig, RecipeName
from keepstone.training.improve.job import KIND, ImproveJob
from keepstone.training.improve.orders import Orders
from keepstone.training.improve.record import Improvement, Judgement, Records

SOON = 30.0
CHILD = "child"
DATASET = {"collection": "col_words"}
Deed = Callable[[JobInfo], None]


class Children:
    """Handler of all jobs that are ordered; notes which ones ended, and does what it is told for each."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.deeds: dict[str, Deed] = {}

    def plan(self, job: JobInfo) -> list[Any]:
        del job
        return ["only"]

    def run(self, job: JobInfo, unit: Any) -> None:
        del unit
        self.deeds.get(job.args["what"], lambda _job: None)(job)
        self.ended.append(job.args["what"])

    def finish(self, job: JobInfo, error: str | None) -> None:
        del job, error


class StandIns:
    """In the place of `Orders`: every order is a job of the kind `child`."""

    def __init__(self, jobs: Jobs, dataset: Path) -> None:
        self._jobs, self.dataset = jobs, dataset
        self.model, self.outcome = "new@1", "promote"
        self.discarded: list[str] = []

    def _order(self, what: str, job_id: str) -> str:
        return self._jobs.submit(CHILD, {"what": what}, principal_id=None, job_id=job_id)

    def build(self, principal: Principal, config: Any, *, job_id: str) -> str:
        return self._order("dataset", job_id)

    def built(self, job_id: str) -> Dataset:
        return open_dataset(self.dataset)

    def train(self, principal: Principal, recipe: RecipeName, dataset: str, options: Any, *, job_id: str) -> str:
        return self._order(f"train {recipe}", job_id)

    def trained(self, principal: Principal, job_id: str) -> Mapping[str, Any]:
        return {"run": job_id, "model": self.model, "base": "old@1", "config": {}, "metrics": {}, "curve": ()}

    def live(self, principal: Principal, recipe: RecipeName, collection_id: str) -> str:
        return "old@1"

    def judge(self, principal: Principal, model: str, dataset: str, *, job_id: str) -> str:
        return self._order("judge", job_id)

    def judged(self, principal: Principal, job_id: str) -> tuple[str, Judgement]:
        outcome = cast("Any", self.outcome)
        return "old@1", Judgement(verdict="vrd_1", outcome=outcome, reasons=("So it is.",), measures=())

    def discard(self, recipe: RecipeName, model: str, collection_id: str) -> None:
        self.discarded.append(model)

    def promote(self, principal: Principal, recipe: RecipeName, model: str, *rest: str, job_id: str) -> str:
        return self._order("promote", job_id)


class Chain:
    """An app that improves, with everything it orders in the hands of a test."""

    def __init__(self, home: Path, dataset: Path) -> None:
        self.database = Database(f"sqlite:///{home / 'keepstone.db'}")
        self.database.upgrade()
        with self.database.transaction() as session:
            self.admin = ensure_local_admin(session).id
        self.jobs = Jobs(self.database, f"sqlite:///{home / 'jobs.db'}", backoff_s=(0.01,))
        self.dataset = dataset
        self.children, self.orders = Children(), StandIns(self.jobs, dataset)
        self.records = Records(home / "reports")
        job = ImproveJob(self.database, self.jobs, cast("Orders", self.orders), self.records)
        self.jobs.register(KIND, job, own_progress=True)
        self.jobs.register(CHILD, self.children)

    def reset(self) -> None:
        """Forget what was ordered, and what it was to do."""
        self.children.ended.clear()
        self.children.deeds.clear()
        self.orders.discarded.clear()
        self.orders.model, self.orders.outcome, self.orders.dataset = "new@1", "promote", self.dataset

    def start(self, *recipes: RecipeName, promote: bool = True) -> str:
        config = ImproveConfig(collection="col_words", recipes=recipes or ("embedding",), promote=promote)
        args = {"config": config.model_dump(mode="json"), "dataset": DATASET, "collection": "words"}
        return self.jobs.submit(KIND, {**args, "scopes": sorted(SCOPES)}, principal_id=self.admin)

    def wait(self, job_id: str) -> tuple[str, Improvement]:
        row = self.jobs.wait(job_id, SOON)
        return str(row.state), self.records.get(job_id)


@contextmanager
def opened(home: Path, dataset: Path) -> Iterator[Chain]:
    """Open such an app on a home folder."""
    chain = Chain(home, dataset)
    chain.jobs.launch()
    try:
        yield chain
    finally:
        chain.jobs.close()
        chain.database.close()


class Gate:
    """A deed that waits until it may go on, or is cancelled."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, job: JobInfo) -> None:
        self.reached.set()
        while not self.open.wait(0.02):
            job.check_cancelled()

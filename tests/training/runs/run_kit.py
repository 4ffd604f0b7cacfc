"""What the tests of runs share: a home folder with a tiny encoder and a dataset, and the services of an app on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from keepstone.platform.access import Principal
from keepstone.platform.accounts import SCOPES, ensure_local_admin
from keepstone.platform.database import Database
from keepstone.platform.jobs import Jobs
from keepstone.platform.machine import Machine
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.training.runs import Order, Run, Runs
from tests.training.tiny_models import retrieval_dataset, tiny_encoder

WAIT_S = 120.0
STEPS = 60
CONFIG = {"epochs": 20, "batch_size": 8, "learning_rate": 1e-3, "save_every": 10, "merge": 0.5}
"""Twenty times three steps, slow enough to be met half way."""
ORDER = Order(recipe="embedding", dataset="words", config=CONFIG)


@dataclass(slots=True)
class App:
    """An app that does nothing but train."""

    home: Path
    database: Database
    registry: ModelRegistry
    jobs: Jobs
    runs: Runs
    admin: Principal

    def start(self, order: Order = ORDER) -> str:
        return self.runs.start(self.admin, order)

    def get(self, run_id: str) -> Run:
        return self.runs.get(self.admin, run_id)

    def wait(self, run_id: str) -> Run:
        self.jobs.wait(run_id, WAIT_S)
        return self.get(run_id)

    def wait_for_step(self, run_id: str, step: int) -> None:
        until(lambda: self.get(run_id).step >= step)

    def steps(self, run_id: str) -> list[int]:
        return [point["step"] for point in self.runs.curve(self.admin, run_id)]

    def base(self) -> InstalledModel:
        return self.registry.get("tiny")


def prepare(home: Path) -> Path:
    """Put a tiny encoder and a dataset into a home folder."""
    retrieval_dataset(home / "datasets")
    folder = tiny_encoder(home / "models" / "tiny")
    database = Database(f"sqlite:///{home / 'keepstone.db'}")
    database.upgrade()
    ModelRegistry(database, home).add(
        name="tiny", kind="encoder", version="1", path=folder, source="test", details={"languages": ["en"]}
    )
    database.close()
    return home


@contextmanager
def open_app(home: Path) -> Iterator[App]:
    """Open the services on a prepared home folder."""
    database = Database(f"sqlite:///{home / 'keepstone.db'}")
    with database.transaction() as session:
        row = ensure_local_admin(session)
        admin = Principal(row.id, row.name, is_admin=True, scopes=frozenset(SCOPES))
    registry = ModelRegistry(database, home)
    jobs = Jobs(database, f"sqlite:///{home / 'jobs.db'}", backoff_s=(0.1, 0.1))
    machine = Machine(cores=2, memory_gib=8, free_disk_gib=10)
    models: Any = {"encoder": "tiny", "llm": "none"}
    runs = Runs(database=database, jobs=jobs, registry=registry, machine=machine, home=home, models=models)
    jobs.launch()
    try:
        yield App(home, database, registry, jobs, runs, admin)
    finally:
        jobs.close()
        database.close()


def training_processes(home: Path) -> list[psutil.Process]:
    """Return the processes that train for this home folder, without their guards."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if "keepstone.training.runs.process" in line and "--grace" not in line and str(home) in line[-1]:
            found.append(process)
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)

"""What the tests of jobs share: a handler that notes what happens to it, and short words for submitting and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from keepstone.platform.jobs import JobInfo, Jobs

SOON = 20.0
Start = Callable[..., Jobs]


class Recorder:
    """A handler that notes what happens to it; `on_unit` is what its units do."""

    def __init__(self, on_unit: Callable[[JobInfo, Any], None] = lambda job, unit: None) -> None:
        self.on_unit = on_unit
        self.done: list[Any] = []
        self.finished: list[tuple[str | None, bool]] = []

    def plan(self, job: JobInfo) -> list[Any]:
        units: list[Any] = job.args.get("units", [])
        return units

    def run(self, job: JobInfo, unit: Any) -> None:
        self.on_unit(job, unit)
        self.done.append(unit)

    def finish(self, job: JobInfo, error: str | None) -> None:
        self.finished.append((error, job.cancelled))


def submit(jobs: Jobs, *units: Any, kind: str = "work", **keywords: Any) -> str:
    return jobs.submit(kind, {"units": list(units)}, principal_id=None, **keywords)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)

"""Fixtures of the ground floor's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.platform.database import Database
from keepstone.platform.jobs import Jobs
from tests.platform.jobs_kit import Recorder, Start


@pytest.fixture
def jobs_url(both_databases: Database, tmp_path: Path) -> str:
    """Return where the durable steps go: a file beside SQLite, the same database on PostgreSQL."""
    if both_databases.is_sqlite:
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return both_databases.engine.url.render_as_string(hide_password=False)


@pytest.fixture
def start(both_databases: Database, jobs_url: str) -> Iterator[Start]:
    """Return a function that launches jobs with the given handlers; they are closed after the test."""
    opened: list[Jobs] = []

    def launch(concurrency: int = 1, **handlers: Recorder) -> Jobs:
        jobs = Jobs(both_databases, jobs_url, backoff_s=(0.01, 0.01, 0.01))
        for kind, handler in handlers.items():
            jobs.register(kind, handler, concurrency=concurrency)
        jobs.launch()
        opened.append(jobs)
        return jobs

    yield launch
    for jobs in opened:
        jobs.close(timeout_s=5)

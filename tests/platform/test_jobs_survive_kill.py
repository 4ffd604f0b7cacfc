"""A job whose process is killed in the midst of each of its steps goes on where it was, and ends well."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from keepstone.platform.database import Database
from keepstone.platform.database.tables import JobState
from keepstone.platform.jobs import Jobs

# Appends each step to a log; at the step that its last argument names it says so and waits for its death.
PROGRAM = """
import sys, time
from pathlib import Path
from keepstone.platform.database import Database
from keepstone.platform.jobs import Jobs

database_url, jobs_url, folder, deadly = sys.argv[1:]
log = Path(folder, "log")

def step(name):
    with log.open("a") as file:
        file.write(name + "\\n")
    if name == deadly:
        Path(folder, "kill-me").touch()
        time.sleep(600)

class Handler:
    def plan(self, job):
        step("plan")
        return list(range(4))
    def run(self, job, unit):
        step(f"unit {unit}")
    def finish(self, job, error):
        step(f"finish {error}")

jobs = Jobs(Database(database_url), jobs_url)
jobs.register("work", Handler())
jobs.launch()
time.sleep(600)
"""


def test_killed_in_every_kind_of_step(both_urls: str, tmp_path: Path) -> None:
    """SIGKILL while planning, in a unit and while finishing: each step ends once, in order, and nothing is lost."""
    database = Database(both_urls)
    database.upgrade()
    jobs_url = f"sqlite:///{tmp_path / 'jobs.db'}" if database.is_sqlite else both_urls
    jobs = Jobs(database, jobs_url)
    job_id = jobs.submit("work", {}, principal_id=None)
    for deadly in ("plan", "unit 2", "finish None"):
        process = _start(both_urls, jobs_url, tmp_path, deadly)
        flag = tmp_path / "kill-me"
        _wait_for(flag, process)
        process.kill()
        process.wait()
        flag.unlink()
        assert jobs.get(job_id).state == JobState.RUNNING
    process = _start(both_urls, jobs_url, tmp_path, "never")
    try:
        row = jobs.wait(job_id, 60)
    finally:
        process.kill()
        process.wait()
        database.close()
    assert (row.state, row.done, row.total, row.attempts) == (JobState.SUCCEEDED, 4, 4, 0)
    assert (tmp_path / "log").read_text().splitlines() == [
        *("plan", "plan", "unit 0", "unit 1", "unit 2"),
        *("unit 2", "unit 3", "finish None", "finish None"),
    ]


def _start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, arguments)])


def _wait_for(flag: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        if flag.exists():
            return
        assert process.poll() is None, "the worker ended by itself"
        time.sleep(0.01)
    raise AssertionError("the worker never came to that step")

"""Jobs whose process ended, closed, or could not write: each goes on where it was, in this process or another."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from keepstone.platform.database import Database
from keepstone.platform.database.tables import JobRow, JobState
from keepstone.platform.errors import Cancelled, StorageFull
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.platform.jobs.records import JobRecords
from keepstone.platform.jobs.runner import MAX_ATTEMPTS
from tests.platform.jobs_kit import SOON, Recorder, Start, submit, until


def test_jobs_submitted_while_nobody_worked_are_found(start: Start, both_databases: Database, jobs_url: str) -> None:
    """The row is the order: a process that dies right after its commit has lost nothing."""
    job_id = submit(Jobs(both_databases, jobs_url), "a")
    work = Recorder()
    assert start(work=work).wait(job_id, SOON).state == JobState.SUCCEEDED
    assert work.done == ["a"]


def test_a_claimed_job_that_never_began_is_found(start: Start, both_databases: Database, jobs_url: str) -> None:
    """A process that dies between claiming and starting leaves a running row without a workflow."""
    idle = Jobs(both_databases, jobs_url)
    job_id = submit(idle, "a")
    assert idle._records.claim("local", {"work": 1}) == job_id
    assert start(work=Recorder()).wait(job_id, SOON).state == JobState.SUCCEEDED


def test_a_job_whose_steps_could_not_be_kept_is_run_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the steps was full for a while: nothing is lost, nobody has to restart the app."""
    from dbos._sys_db import SystemDatabase

    monkeypatch.setattr("keepstone.platform.jobs.service._CARE_EVERY_S", 0.1)
    keep = SystemDatabase.record_operation_result
    failures = [OSError("full"), OSError("full")]

    def full(*arguments: Any, **keywords: Any) -> Any:
        if failures:
            raise failures.pop()
        return keep(*arguments, **keywords)

    monkeypatch.setattr(SystemDatabase, "record_operation_result", full)
    work = Recorder()
    jobs = start(work=work)
    row = jobs.wait(submit(jobs, 1, 2), SOON)
    assert (row.state, row.done) == (JobState.SUCCEEDED, 2)
    assert sorted(set(work.done)) == [1, 2]


def test_a_job_says_what_it_waits_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk keeps even the job's own row from saying so."""
    room = threading.Event()
    end = JobRecords.end

    def full(*arguments: Any) -> None:
        if not room.is_set():
            raise StorageFull("No space left on the database's disk", fix="Free some space")
        end(*arguments)

    monkeypatch.setattr(JobRecords, "end", full)
    jobs = start(work=Recorder())
    job_id = submit(jobs, 1)
    until(lambda: jobs.waits_for(job_id) is not None)
    assert jobs.waits_for(job_id) == "No space left on the database's disk. Free some space"
    assert jobs.get(job_id).state == JobState.RUNNING
    room.set()
    assert jobs.wait(job_id, SOON).state == JobState.SUCCEEDED
    assert jobs.waits_for(job_id) is None


def test_a_stalled_job_is_started_as_often_as_that_fails(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is still full when jobs that could not be recorded are to go on: they are not forgotten over that."""
    from dbos import DBOS
    from dbos._sys_db import SystemDatabase

    monkeypatch.setattr("keepstone.platform.jobs.service._CARE_EVERY_S", 0.05)
    monkeypatch.setattr("keepstone.platform.jobs.service._LOOK_AGAIN_S", 0.05)
    full = {"record_operation_result": 2, "resume_workflow": 2}

    def fails_at_first(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            if full[name]:
                full[name] -= 1
                raise OSError("full")
            return real(*arguments, **keywords)

        monkeypatch.setattr(owner, name, call)

    fails_at_first(SystemDatabase, "record_operation_result")
    fails_at_first(DBOS, "resume_workflow")
    work = Recorder()
    jobs = start(work=work)
    assert jobs.wait(submit(jobs, 1, 2), SOON).state == JobState.SUCCEEDED
    assert full == {"record_operation_result": 0, "resume_workflow": 0}


def test_closing_interrupts_and_the_next_launch_goes_on(start: Start) -> None:
    """A restart in the midst of a job: units that were done do not run again, those that were not do."""
    gate = threading.Event()

    def wait_at_two(job: JobInfo, unit: Any) -> None:
        while unit == 2 and not gate.is_set():
            job.check_cancelled()
            time.sleep(0.01)

    first = Recorder(wait_at_two)
    jobs = start(work=first)
    job_id = submit(jobs, 1, 2, 3)
    until(lambda: jobs.get(job_id).done == 1)
    assert jobs.close(timeout_s=5)
    assert first.done == [1]
    assert first.finished == []
    gate.set()
    second = Recorder(wait_at_two)
    row = start(work=second).wait(job_id, SOON)
    assert (row.state, row.done) == (JobState.SUCCEEDED, 3)
    assert second.done == [2, 3]


def test_a_unit_that_does_not_look_is_cut_off(start: Start) -> None:
    """Closing does not wait for ever, and what the old thread still does is not recorded."""
    gate, entered = threading.Event(), threading.Event()

    def stubborn(job: JobInfo, unit: Any) -> None:
        entered.set()
        gate.wait(SOON)

    jobs = start(work=Recorder(stubborn))
    job_id = submit(jobs, 1, 2)
    assert entered.wait(SOON)
    assert not jobs.close(timeout_s=0.05)
    second = Recorder()
    row = start(work=second).wait(job_id, SOON)
    gate.set()
    assert (row.state, second.done) == (JobState.SUCCEEDED, [1, 2])


@pytest.mark.parametrize("failure", [ConnectionError("its database is closed"), Cancelled("Cancelled"), None])
def test_a_unit_that_ends_after_the_close_is_no_fault(start: Start, failure: Exception | None) -> None:
    """A long unit outlives the close and fails for what was closed under it: no traceback, and it runs again."""
    gate, entered, left = threading.Event(), threading.Event(), threading.Event()

    def stubborn(job: JobInfo, unit: Any) -> None:
        entered.set()
        gate.wait(SOON)
        if failure is not None:
            raise failure

    jobs = start(work=Recorder(stubborn))
    jobs._runner._on_end = left.set
    job_id = submit(jobs, 1, 2)
    assert entered.wait(SOON)
    with capture_logs() as logged:
        assert not jobs.close(timeout_s=0.05)
        gate.set()
        assert left.wait(SOON)
    assert [entry for entry in logged if entry["log_level"] in ("warning", "error")] == []
    second = Recorder()
    row = start(work=second).wait(job_id, SOON)
    assert (row.state, second.done) == (JobState.SUCCEEDED, [1, 2])


def test_a_step_that_always_ends_the_process_is_given_up(start: Start, both_databases: Database) -> None:
    """A poisonous job must not end the app at each start for ever."""
    jobs = start(other=Recorder())
    job_id = submit(jobs, "poison")
    with both_databases.transaction() as session:
        session.execute(sa.update(JobRow).values(attempts=MAX_ATTEMPTS))
    jobs.close()
    work = Recorder()
    row = start(work=work).wait(job_id, SOON)
    assert row.state == JobState.FAILED
    assert "the process ended" in (row.error or "")
    assert work.done == []


@pytest.mark.postgres
def test_jobs_of_a_worker_that_is_gone_are_adopted(postgres_url: str) -> None:
    """Another app process goes on where a lost machine was."""
    database = Database(postgres_url)
    database.upgrade()
    entered, gate = threading.Event(), threading.Event()

    def stubborn(job: JobInfo, unit: Any) -> None:
        if unit == 2:
            entered.set()
            gate.wait(SOON)

    lost = Jobs(database, postgres_url, worker="lost")
    lost.register("work", Recorder(stubborn))
    lost.launch()
    job_id = submit(lost, 1, 2)
    assert entered.wait(SOON)
    lost.close(timeout_s=0.01)
    with database.transaction() as session:
        session.execute(sa.text("UPDATE jobs SET updated_at = updated_at - interval '1 hour'"))
    work = Recorder()
    other = Jobs(database, postgres_url, worker="other")
    other.register("work", work)
    other.launch()
    try:
        assert other.wait(job_id, SOON).state == JobState.SUCCEEDED
        assert work.done == [2]
    finally:
        gate.set()
        other.close()
        database.close()

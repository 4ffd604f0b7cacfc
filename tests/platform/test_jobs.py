"""Jobs: units run in order, failures are told or tried again, people can watch, cancel and retry."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from keepstone.platform.accounts import create_principal
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, JobState
from keepstone.platform.errors import Conflict, EngineUnavailable, InvalidInput, ModelMissing, NotFound
from keepstone.platform.jobs import JobInfo, Jobs
from tests.platform.jobs_kit import SOON, Recorder, Start, submit


def test_units_run_in_order_and_are_counted(start: Start) -> None:
    """The main path: plan, units, finish; people see the progress."""
    work = Recorder()
    jobs = start(work=work)
    row = jobs.wait(submit(jobs, "a", "b", {"c": 1}), SOON)
    assert (row.state, row.done, row.total, row.error) == (JobState.SUCCEEDED, 3, 3, None)
    assert work.done == ["a", "b", {"c": 1}]
    assert work.finished == [(None, False)]


def test_an_order_is_part_of_the_transaction(start: Start, both_databases: Database) -> None:
    """What is rolled back never runs; what is committed does."""
    work = Recorder()
    jobs = start(work=work)
    with contextlib.suppress(ZeroDivisionError), both_databases.transaction() as session:
        submit(jobs, "never", session=session)
        raise ZeroDivisionError
    with both_databases.transaction() as session:
        job_id = submit(jobs, "once", session=session)
    jobs.wait(job_id, SOON)
    assert work.done == ["once"]


def test_an_order_under_an_id_is_taken_once(start: Start) -> None:
    """Who orders again after a kill gets the job that there is, also when it has ended."""
    work = Recorder()
    jobs = start(work=work)
    assert submit(jobs, "first", job_id="job_mine") == "job_mine"
    jobs.wait("job_mine", SOON)
    assert submit(jobs, "second", job_id="job_mine") == "job_mine"
    assert jobs.wait("job_mine", SOON).state == JobState.SUCCEEDED
    assert work.done == ["first"]


def test_an_error_fails_the_job_with_its_message_and_fix(start: Start) -> None:
    """People read what mends it; later units do not run; finish hears of it."""

    def fail(job: JobInfo, unit: Any) -> None:
        if unit == "bad":
            raise InvalidInput("This cannot be", fix="Do that")

    work = Recorder(fail)
    jobs = start(work=work)
    row = jobs.wait(submit(jobs, "good", "bad", "never"), SOON)
    assert (row.state, row.error, row.done) == (JobState.FAILED, "This cannot be. Do that", 1)
    assert work.done == ["good"]
    assert work.finished == [("This cannot be. Do that", False)]


def test_an_unexpected_error_is_named_without_its_text(start: Start) -> None:
    """A message of a library may quote a document; people get its kind, the log the rest."""

    def fail(job: JobInfo, unit: Any) -> None:
        raise ValueError("secret words of a document")

    jobs = start(work=Recorder(fail))
    row = jobs.wait(submit(jobs, 1), SOON)
    assert row.state == JobState.FAILED
    assert "ValueError" in (row.error or "")
    assert "secret" not in (row.error or "")


@pytest.mark.parametrize(
    ("failure", "said"), [(InvalidInput("cannot tidy"), "cannot tidy"), (KeyError("x"), "KeyError"), (None, None)]
)
def test_a_failing_finish_fails_the_job(start: Start, failure: Exception | None, said: str | None) -> None:
    """What was done stays done, but nobody is told that all went well."""

    class Untidy(Recorder):
        def finish(self, job: JobInfo, error: str | None) -> None:
            super().finish(job, error)
            if failure:
                raise failure

    work = Untidy()
    jobs = start(work=work)
    row = jobs.wait(submit(jobs, 1), SOON)
    assert row.state == (JobState.FAILED if failure else JobState.SUCCEEDED)
    assert said is None or said in (row.error or "")
    assert len(work.finished) == 1


@pytest.mark.parametrize("units", [[object()], [float("nan")], ["half a pair \ud800"]], ids=["object", "nan", "text"])
def test_units_that_cannot_be_stored_fail_the_job(start: Start, units: list[Any]) -> None:
    """A fault of the handler, found at once and not at the next start."""

    class Careless(Recorder):
        def plan(self, job: JobInfo) -> list[Any]:
            return units

    jobs = start(work=Careless())
    assert jobs.wait(submit(jobs), SOON).state == JobState.FAILED


def test_units_look_the_same_in_every_run(start: Start) -> None:
    """Tuples come back as lists from the database, so they are lists the first time too."""

    class Tuples(Recorder):
        def plan(self, job: JobInfo) -> list[Any]:
            return [(1, "a"), {"b": (2,)}]

    work = Tuples()
    jobs = start(work=work)
    jobs.wait(submit(jobs), SOON)
    assert work.done == [[1, "a"], {"b": [2]}]


def test_an_error_that_cannot_be_stored_ends_the_job_all_the_same(start: Start) -> None:
    """A message may quote the name of a file, and names of files hold anything."""

    def fail(job: JobInfo, unit: Any) -> None:
        raise InvalidInput("bad name \ud800 \x00")

    jobs = start(work=Recorder(fail))
    row = jobs.wait(submit(jobs, 1), SOON)
    assert (row.state, row.error) == (JobState.FAILED, "bad name ? ")


def test_a_passing_failure_is_tried_again(start: Start) -> None:
    """The engine was away for a moment: nobody needs to know."""
    failures = [EngineUnavailable("away"), EngineUnavailable("away")]

    def fail_twice(job: JobInfo, unit: Any) -> None:
        if failures:
            raise failures.pop()

    jobs = start(work=Recorder(fail_twice))
    assert jobs.wait(submit(jobs, 1), SOON).state == JobState.SUCCEEDED


@pytest.mark.parametrize(("error", "tries"), [(EngineUnavailable("away"), 4), (ModelMissing("not here"), 1)])
def test_a_lasting_failure_ends_the_job(start: Start, error: Exception, tries: int) -> None:
    """Patience ends; a missing model does not come back by itself."""
    seen: list[int] = []

    def fail(job: JobInfo, unit: Any) -> None:
        seen.append(job.attempt)
        raise error

    jobs = start(work=Recorder(fail))
    row = jobs.wait(submit(jobs, 1), SOON)
    assert (row.state, row.error) == (JobState.FAILED, str(error))
    assert seen == [1] * tries


def test_a_failed_job_can_be_retried(start: Start) -> None:
    """Retrying plans and runs anew; only what failed or was cancelled can be retried."""
    broken = True

    def fail(job: JobInfo, unit: Any) -> None:
        if broken:
            raise InvalidInput("broken")

    work = Recorder(fail)
    jobs = start(work=work)
    job_id = submit(jobs, 1, 2)
    assert jobs.wait(job_id, SOON).state == JobState.FAILED
    broken = False
    jobs.retry(job_id)
    row = jobs.wait(job_id, SOON)
    assert (row.state, row.done, row.error) == (JobState.SUCCEEDED, 2, None)
    with pytest.raises(Conflict, match="succeeded"):
        jobs.retry(job_id)
    with pytest.raises(NotFound):
        jobs.retry("job_none")


def test_cancel_between_and_inside_units(start: Start) -> None:
    """A unit that looks ends at once; the rest does not begin; finish knows that a person wanted it."""
    entered = threading.Event()

    def long(job: JobInfo, unit: Any) -> None:
        entered.set()
        while True:
            job.check_cancelled()
            time.sleep(0.01)

    work = Recorder(long)
    jobs = start(work=work)
    job_id = submit(jobs, "long", "never")
    assert entered.wait(SOON)
    jobs.cancel(job_id)
    row = jobs.wait(job_id, SOON)
    assert row.state == JobState.CANCELLED
    assert work.done == []
    assert [cancelled for _, cancelled in work.finished] == [True]
    jobs.cancel(job_id)
    with pytest.raises(NotFound):
        jobs.cancel("job_none")


def test_a_waiting_job_is_cancelled_at_once(start: Start) -> None:
    """It need not wait for the one before it to be told that it is not wanted."""
    release = threading.Event()
    work = Recorder(lambda job, unit: (release.wait(SOON), None)[1])
    jobs = start(work=work)
    first, second = submit(jobs, "first"), submit(jobs, "second")
    jobs.cancel(second)
    assert jobs.wait(second, SOON).state == JobState.CANCELLED
    assert jobs.get(first).state == JobState.RUNNING
    release.set()
    assert jobs.wait(first, SOON).state == JobState.SUCCEEDED
    assert work.done == ["first"]


def test_concurrency_is_kept_per_kind(start: Start) -> None:
    """One of a kind at a time, oldest first, and other kinds do not wait for it."""
    running: list[str] = []
    most = 0

    def note(job: JobInfo, unit: Any) -> None:
        nonlocal most
        running.append(job.id)
        most = max(most, len(running))
        time.sleep(0.02)
        running.remove(job.id)

    blocked = threading.Event()
    work, other = Recorder(note), Recorder(lambda job, unit: (blocked.wait(SOON), None)[1])
    jobs = start(work=work, other=other)
    waiting = submit(jobs, "x", kind="other")
    ids = [submit(jobs, number) for number in range(5)]
    for job_id in ids:
        assert jobs.wait(job_id, SOON).state == JobState.SUCCEEDED
    assert work.done == [0, 1, 2, 3, 4]
    assert most == 1
    assert jobs.get(waiting).state == JobState.RUNNING
    blocked.set()
    jobs.wait(waiting, SOON)


def test_two_may_run_where_two_are_allowed(start: Start) -> None:
    """A higher limit is used."""
    together = threading.Barrier(2)
    jobs = start(concurrency=2, work=Recorder(lambda job, unit: (together.wait(SOON), None)[1]))
    ids = [submit(jobs, 1), submit(jobs, 2)]
    assert [jobs.wait(job_id, SOON).state for job_id in ids] == [JobState.SUCCEEDED] * 2


def test_the_job_of_a_deleted_collection_ends(start: Start, both_databases: Database) -> None:
    """Its row went with the collection; the handler is told inside its unit and the next job runs."""
    with both_databases.transaction() as session:
        owner = create_principal(session, "ann")
        session.add(CollectionRow(id="col_1", name="c", owner_id=owner.id, encoder="e"))
    entered, ended = threading.Event(), threading.Event()

    def long(job: JobInfo, unit: Any) -> None:
        if unit == "short":
            return
        entered.set()
        try:
            while True:
                job.check_cancelled()
                time.sleep(0.01)
        finally:
            ended.set()

    work = Recorder(long)
    jobs = start(work=work)
    job_id = submit(jobs, "long", collection_id="col_1")
    assert entered.wait(SOON)
    with both_databases.transaction() as session:
        session.execute(sa.delete(CollectionRow))
    assert ended.wait(SOON)
    with pytest.raises(NotFound):
        jobs.get(job_id)
    assert jobs.wait(submit(jobs, "short"), SOON).state == JobState.SUCCEEDED


def test_a_kind_that_this_process_does_not_know_waits(start: Start) -> None:
    """An app without the trainer leaves training jobs for one that has it."""
    jobs = start(other=Recorder())
    job_id = submit(jobs, 1)
    jobs.wait(submit(jobs, kind="other"), SOON)
    assert jobs.get(job_id).state == JobState.QUEUED


def test_only_one_runs_jobs_in_a_process(start: Start, both_databases: Database, jobs_url: str) -> None:
    """DBOS is one per process: the second says so instead of breaking the first."""
    jobs = start(work=Recorder())
    with pytest.raises(Conflict):
        Jobs(both_databases, jobs_url).launch()
    assert jobs.wait(submit(jobs, 1), SOON).state == JobState.SUCCEEDED


def test_nothing_is_pickled(start: Start, jobs_url: str) -> None:
    """Whoever can write the tables of DBOS must not thereby run code here."""
    from dbos._serialization import DefaultSerializer, deserialize_value

    jobs = start(work=Recorder())
    jobs.wait(submit(jobs, 1), SOON)
    with pytest.raises(TypeError, match="JSON only"):
        deserialize_value("gASVAAAAAAAAAA==", "py_pickle", DefaultSerializer())


def test_own_progress_is_left_alone(both_databases: Database, jobs_url: str) -> None:
    """A handler that counts documents is not overruled by the count of units."""
    jobs = Jobs(both_databases, jobs_url)
    jobs.register("work", Recorder(lambda job, unit: job.progress(unit * 10, 40)), own_progress=True)
    jobs.launch()
    try:
        row = jobs.wait(submit(jobs, 1, 2), SOON)
        assert (row.done, row.total) == (20, 40)
    finally:
        jobs.close()

"""Jobs: every committed one ends, in order, once as far as people can see, whatever dies in between."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keepstone.platform.accounts import create_principal
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, JobRow, JobState
from keepstone.platform.errors import Conflict, EngineUnavailable, InvalidInput, ModelMissing, NotFound
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.platform.jobs.runner import MAX_ATTEMPTS

SOON = 20.0


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


@pytest.fixture
def jobs_url(both_databases: Database, tmp_path: Path) -> str:
    """Return where the durable steps go: a file beside SQLite, the same database on PostgreSQL."""
    if both_databases.is_sqlite:
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return both_databases.engine.url.render_as_string(hide_password=False)


Start = Callable[..., Jobs]


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


def submit(jobs: Jobs, *units: Any, kind: str = "work", **keywords: Any) -> str:
    return jobs.submit(kind, {"units": list(units)}, principal_id=None, **keywords)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


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

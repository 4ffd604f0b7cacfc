"""How one job runs: plan, then unit after unit, then finish, each a durable step whose outcome is plain JSON."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import OperationalError

from keepstone.platform import metrics
from keepstone.platform.database.tables import JobRow, JobState
from keepstone.platform.errors import Cancelled, KeepstoneError, ModelMissing, StorageFull, Unavailable
from keepstone.platform.jobs.base import Abandoned, JobInfo, JobKind
from keepstone.platform.jobs.durable import Step
from keepstone.platform.jobs.records import JobRecords

log = structlog.get_logger(__name__)
_ENDED = metrics.counter("jobs", "Jobs that ended", "kind", "state")
_STEPS = metrics.histogram("job_step_seconds", "Time of one step of a job", "kind", "step")

# A step that was begun this often and never ended, not even by failing, is what ends the process.
MAX_ATTEMPTS = 16
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0, 60.0, 60.0)
_CHECK_EVERY_S = 0.5

Outcome = dict[str, Any]
Action = Callable[[JobInfo], list[Any] | None]
_T = TypeVar("_T")
_GONE: Outcome = {"state": "gone"}
_CANCELLED: Outcome = {"state": JobState.CANCELLED, "error": "Cancelled"}


@dataclass(frozen=True, slots=True)
class Registration:
    """A kind of job that this process can run."""

    handler: JobKind
    concurrency: int
    own_progress: bool


class JobRunner:
    """Runs jobs, one per thread, until told to stop.

    Args:
        records: the table of jobs.
        kinds: the handlers, by name.
        worker: our name.
        backoff_s: pauses between the tries of a step whose failure may pass.
        on_end: called whenever a job has ended here and made room for another.
    """

    def __init__(
        self,
        records: JobRecords,
        kinds: Mapping[str, Registration],
        worker: str,
        backoff_s: Sequence[float],
        on_end: Callable[[], None],
    ) -> None:
        self._records = records
        self._kinds = kinds
        self._worker = worker
        self._backoff_s = backoff_s
        self._on_end = on_end
        self._stopping = threading.Event()
        self._cut_off = False
        self._changed = threading.Condition()
        self._active: dict[str, int] = {}
        self._stalled: set[str] = set()
        self._waits: dict[str, str] = {}

    def run(self, job_id: str, step: Step) -> None:
        """Run a job, or what is left of it, to its end.

        Raises:
            Abandoned: the process is closing; the job is to be run again.
        """
        self._count(job_id, +1)
        self._waits.pop(job_id, None)
        try:
            with structlog.contextvars.bound_contextvars(job=job_id):
                self._run(job_id, step)
        finally:
            self._count(job_id, -1)
            self._on_end()

    def active(self) -> list[str]:
        """Return the ids of the jobs that run here now."""
        with self._changed:
            return list(self._active)

    def take_stalled(self) -> str | None:
        """Return, once, the id of a job whose steps could not be recorded, to be run again; None: there is none."""
        return self._stalled.pop() if self._stalled else None

    def waits_for(self, job_id: str) -> str | None:
        """Return, for people, what a job here waits for before it goes on; None: it does not wait."""
        return self._waits.get(job_id)

    def note_stalled(self, job_id: str) -> None:
        """Let `take_stalled` return this job, too."""
        self._stalled.add(job_id)

    def stop(self, timeout_s: float) -> bool:
        """End all jobs after the step in hand, and tell whether they ended in time.

        Those that did not are cut off: what they still do is not recorded.
        """
        self._stopping.set()
        with self._changed:
            drained = self._changed.wait_for(lambda: not self._active, timeout_s)
        self._cut_off = True
        return drained

    def _run(self, job_id: str, step: Step) -> None:
        row = self._patiently(job_id, lambda: self._records.begin_step(job_id, self._worker, counted=False))
        if row is None:
            return
        registered = self._kinds.get(row.kind)
        if registered is None:
            log.warning("job_of_unknown_kind", kind=row.kind)
            raise Abandoned
        log.info("job_started", kind=row.kind)
        try:
            outcome = self._steps(job_id, registered, step)
            step("finish", partial(self._finish, job_id, row.kind, registered, outcome))
        except Abandoned:
            log.info("job_interrupted", kind=row.kind)
            raise
        except Exception as error:
            if self._cut_off:  # what keeps the steps is closed
                log.info("job_interrupted", kind=row.kind)
                raise Abandoned from error
            # Steps do not raise: their results could not be kept, as when the disk is full.
            log.exception("job_stalled", kind=row.kind)
            self._stalled.add(job_id)
            self._waits[job_id] = f"What was done cannot be kept ({type(error).__name__}). Is the disk full?"
            raise Abandoned from error

    def _steps(self, job_id: str, registered: Registration, step: Step) -> Outcome:
        handler = registered.handler
        planned: Outcome = step("plan", partial(self._attempt, job_id, "plan", handler.plan))
        if "units" not in planned:
            return planned
        units: list[Any] = planned["units"]
        for number, unit in enumerate(units, start=1):
            done = None if registered.own_progress else number
            action = partial(_run_unit, handler, unit)
            outcome: Outcome = step("run", partial(self._attempt, job_id, "run", action, done=done))
            if outcome["state"] != JobState.SUCCEEDED:
                return outcome
        return {"state": JobState.SUCCEEDED}

    def _finish(self, job_id: str, kind: str, registered: Registration, outcome: Outcome) -> None:
        if outcome == _GONE:
            return
        state, error = JobState(outcome["state"]), outcome.get("error")
        action = partial(_run_finish, registered.handler, error)
        tidied = self._attempt(job_id, "finish", action, ending=state)
        if tidied == _GONE:
            return
        if state == JobState.SUCCEEDED:
            state, error = JobState(tidied["state"]), tidied.get("error")
        self._patiently(job_id, lambda: self._records.end(job_id, state, error))
        _ENDED.labels(kind, state).inc()
        log.info("job_ended", kind=kind, state=str(state), error=error)

    def _attempt(
        self,
        job_id: str,
        name: str,
        action: Action,
        *,
        done: int | None = None,
        ending: JobState | None = None,
    ) -> Outcome:
        """Do a step, again and again while its failure may pass, and say how it went.

        Args:
            job_id: whose step.
            name: `plan`, `run` or `finish`.
            action: the handler's part.
            done: how many units are done after it.
            ending: for `finish`, how the job ends; a cancellation comes too late then.
        """
        pauses = iter(self._backoff_s)
        counted = True
        while True:
            self._waits.pop(job_id, None)
            try:
                return self._try(job_id, name, action, done=done, ending=ending, counted=counted)
            except Cancelled:
                self._stop_if_cut_off()
                return _CANCELLED
            except Exception as error:  # the boundary to handlers: whatever they raise ends their job only
                # After the close, a handler fails for what was closed under it.
                self._stop_if_cut_off()
                pause = next(pauses, None) if _may_pass(error) else None
                if pause is None:
                    log.warning("job_step_failed", step=name, exc_info=not isinstance(error, KeepstoneError))
                    return {"state": JobState.FAILED, "error": _worded(error)}
                log.warning("job_step_will_be_tried_again", step=name, pause_s=pause, error=_worded(error))
                counted = False
                self._wait(job_id, error, pause)

    def _try(
        self, job_id: str, name: str, action: Action, *, done: int | None, ending: JobState | None, counted: bool
    ) -> Outcome:
        self._stop_if_closing()
        row = self._records.begin_step(job_id, self._worker, counted=counted)
        if row is None:
            return _GONE
        if row.cancel_requested and ending is None:
            return _CANCELLED
        if row.attempts > MAX_ATTEMPTS:
            return {"state": JobState.FAILED, "error": _poison(name)}
        try:
            with _STEPS.labels(row.kind, name).time():
                units = action(self._info(row, ending))
        except Abandoned:
            self._records.forgive(job_id)
            raise
        self._stop_if_cut_off()
        outcome: Outcome = {"state": JobState.SUCCEEDED}
        if units is not None:
            outcome["units"] = _as_stored(units)
        own_progress = self._kinds[row.kind].own_progress
        self._records.end_step(job_id, done, total=len(units) if units is not None and not own_progress else None)
        return outcome

    def _patiently(self, job_id: str, action: Callable[[], _T]) -> _T:
        """Do our own bookkeeping, however long the database is away or its disk is full."""
        for pause in _forever(self._backoff_s):
            self._stop_if_cut_off()
            try:
                done = action()
            except (Unavailable, StorageFull, OperationalError) as error:
                log.warning("jobs_wait_for_the_database", pause_s=pause, error=_worded(error))
                self._wait(job_id, error, pause)
            else:
                self._waits.pop(job_id, None)
                return done
        raise AssertionError

    def _info(self, row: JobRow, ending: JobState | None) -> JobInfo:
        return JobInfo(
            id=row.id,
            kind=row.kind,
            args=row.args,
            principal_id=row.principal_id,
            collection_id=row.collection_id,
            attempt=max(row.attempts, 1),
            cancelled=ending == JobState.CANCELLED,
            report=partial(self._records.progress, row.id),
            check=self._checker(row.id) if ending is None else self._stop_if_closing,
        )

    def _checker(self, job_id: str) -> Callable[[], None]:
        last = time.monotonic()

        def check() -> None:
            nonlocal last
            self._stop_if_closing()
            if time.monotonic() - last < _CHECK_EVERY_S:
                return
            last = time.monotonic()
            if not self._records.is_wanted(job_id):
                raise Cancelled("Cancelled")

        return check

    def _wait(self, job_id: str, error: Exception, seconds: float) -> None:
        """Pause before the next try, and let people know what for."""
        self._waits[job_id] = _worded(error)
        if self._stopping.wait(seconds):
            raise Abandoned

    def _stop_if_closing(self) -> None:
        if self._stopping.is_set():
            raise Abandoned

    def _stop_if_cut_off(self) -> None:
        if self._cut_off:
            raise Abandoned

    def _count(self, job_id: str, change: int) -> None:
        with self._changed:
            self._active[job_id] = self._active.get(job_id, 0) + change
            if not self._active[job_id]:
                del self._active[job_id]
            self._changed.notify_all()


def _as_stored(units: list[Any]) -> list[Any]:
    """Return the units as they will come back from the database, so that the first run is like all others."""
    text = json.dumps(units, ensure_ascii=False, allow_nan=False)
    text.encode()
    stored: list[Any] = json.loads(text)
    return stored


def _run_unit(handler: JobKind, unit: Any, job: JobInfo) -> None:
    handler.run(job, unit)


def _run_finish(handler: JobKind, error: str | None, job: JobInfo) -> None:
    handler.finish(job, error)


def _forever(pauses: Sequence[float]) -> Iterator[float]:
    yield from pauses
    while True:
        yield pauses[-1] if pauses else 1.0


def _may_pass(error: Exception) -> bool:
    return isinstance(error, Unavailable | OperationalError) and not isinstance(error, ModelMissing)


def _worded(error: Exception) -> str:
    if isinstance(error, KeepstoneError):
        # A message may quote the name of a file, which may hold what no database can.
        return str(error).encode(errors="replace").decode().replace("\x00", "")
    return f"An unexpected error stopped this job ({type(error).__name__}). The log has the details"


def _poison(step: str) -> str:
    return f"The step {step!r} was begun {MAX_ATTEMPTS} times, and each time the process ended in the midst of it"

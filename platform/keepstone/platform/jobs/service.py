"""Jobs: submit long work, watch it, cancel it, retry it; and the worker that runs it.

    jobs = open_jobs(database, settings)
    jobs.register("ingest", IngestHandler(...), concurrency=1)
    jobs.launch()                       # in the app only; others may submit and watch
    job_id = jobs.submit("ingest", {"documents": [...]}, principal_id=ann.id, collection_id=handbook.id)
    jobs.wait(job_id, timeout_s=60).state
    jobs.close()

Whatever was committed gets done: a job goes on at the step where it was when its process died, at the next launch or,
on PostgreSQL, in another app process within two minutes.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from keepstone.platform.database import Database
from keepstone.platform.database.tables import JobRow
from keepstone.platform.errors import KeepstoneError
from keepstone.platform.jobs.base import JobKind
from keepstone.platform.jobs.durable import Durable
from keepstone.platform.jobs.records import ENDED, JobRecords
from keepstone.platform.jobs.runner import BACKOFF_S, JobRunner, Registration
from keepstone.platform.settings import Settings

log = structlog.get_logger(__name__)
# Jobs submitted here start at once; those submitted by other processes are seen at the next look.
_LOOK_EVERY_S = 0.5
_LOOK_AGAIN_S = 2.0
_CARE_EVERY_S = 10.0
_ORPHANED_AFTER = timedelta(minutes=2)


def open_jobs(database: Database, settings: Settings) -> Jobs:
    """Return the jobs of this installation; their durable steps live beside the database."""
    return Jobs(database, settings.jobs_url, worker=f"{socket.gethostname()}:{settings.home}")


class Jobs:
    """The jobs of one database.

    Args:
        database: where the table of jobs is.
        url: SQLAlchemy URL of the database for the durable steps.
        worker: name of this process, the same after a restart; two that run at the same time have two names.
        backoff_s: pauses between the tries of a step whose failure may pass, in seconds.
    """

    def __init__(
        self, database: Database, url: str, *, worker: str = "local", backoff_s: Sequence[float] = BACKOFF_S
    ) -> None:
        self._database = database
        self._records = JobRecords(database)
        self._kinds: dict[str, Registration] = {}
        self._worker = worker
        self._wake = threading.Event()
        self._runner = JobRunner(self._records, self._kinds, worker, backoff_s, on_end=self._wake.set)
        self._durable = Durable(url, worker, self._runner.run)
        self._closing = threading.Event()
        self._dispatcher: threading.Thread | None = None

    def register(self, kind: str, handler: JobKind, *, concurrency: int = 1, own_progress: bool = False) -> None:
        """Name the handler of a kind of job, before `launch`.

        Args:
            kind: at most 32 characters.
            handler: does the work.
            concurrency: how many jobs of this kind may run in this process at once.
            own_progress: whether the handler calls `job.progress` itself; otherwise the units are counted.
        """
        assert self._dispatcher is None, "handlers are registered before launch"
        assert kind not in self._kinds, f"two handlers for {kind!r}"
        self._kinds[kind] = Registration(handler, concurrency, own_progress)

    def launch(self) -> None:
        """Begin to run jobs in threads of this process, first those that were under way when it ended.

        Raises:
            Conflict: this process runs the jobs of another `Jobs`.
        """
        self._durable.open()
        try:
            for job_id in self._records.running(self._worker):
                if not self._durable.is_active(job_id):
                    self._records.release(job_id)
        except BaseException:
            self._durable.close()
            raise
        self._dispatcher = threading.Thread(target=self._dispatch, name="keepstone-jobs", daemon=True)
        self._dispatcher.start()

    def submit(
        self,
        kind: str,
        args: dict[str, Any],
        *,
        principal_id: str | None,
        collection_id: str | None = None,
        session: Session | None = None,
        job_id: str | None = None,
    ) -> str:
        """Order a job and return its id.

        Args:
            kind: as registered by the process that will run it.
            args: what the handler needs, as JSON can hold it.
            principal_id: whose job it is.
            collection_id: the job ends when this collection is deleted, and whoever may read it may watch the job.
            session: a transaction that the order is to be part of; the job starts when that is committed.
            job_id: that the job is to have, for who may have to order it twice: the second time nothing happens.
        """
        if session is None:
            with self._database.transaction() as own:
                return self.submit(
                    kind, args, principal_id=principal_id, collection_id=collection_id, session=own, job_id=job_id
                )
        if job_id is not None and session.get(JobRow, job_id) is not None:
            return job_id
        row = JobRow(id=job_id, kind=kind, args=args, principal_id=principal_id, collection_id=collection_id)
        session.add(row)
        session.flush()
        sa.event.listen(session, "after_commit", lambda _session: self._wake.set(), once=True)
        return row.id

    def get(self, job_id: str) -> JobRow:
        """Return the job as it is now; for people, ask `find_job`, which knows what they may see.

        Raises:
            NotFound: there is none.
        """
        return self._records.get(job_id)

    def waits_for(self, job_id: str) -> str | None:
        """Return, for people, what a job in this process waits for, such as room on the disk; None: for nothing."""
        return self._runner.waits_for(job_id)

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job; it ends at the next unit, or where its handler looks. Ended jobs stay as they are.

        Raises:
            NotFound: there is none.
        """
        self._records.request_cancel(job_id)
        self._wake.set()

    def retry(self, job_id: str) -> None:
        """Run a failed or cancelled job again from its plan.

        Raises:
            NotFound: there is none.
            Conflict: it has not ended, or it succeeded.
        """
        self._records.requeue(job_id)
        self._wake.set()

    def wait(self, job_id: str, timeout_s: float) -> JobRow:
        """Wait until the job has ended, and return it.

        Raises:
            NotFound: there is none.
            TimeoutError: it goes on.
        """
        deadline, pause = time.monotonic() + timeout_s, 0.02
        while (row := self.get(job_id)).state not in ENDED:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"job {job_id} is {row.state} after {timeout_s} s")
            time.sleep(pause)
            pause = min(2 * pause, 0.25)
        return row

    def close(self, timeout_s: float = 10.0) -> bool:
        """Stop: each job after the unit in hand. They go on at the next launch.

        Returns:
            Whether all units came to their end in time. Those that did not run on in their threads, but nothing more of
            them is recorded; a process that wants to be gone now leaves by `os._exit`.
        """
        if self._dispatcher is None:
            return True
        self._closing.set()
        self._wake.set()
        self._dispatcher.join()
        drained = self._runner.stop(timeout_s)
        self._durable.close()
        return drained

    def _dispatch(self) -> None:
        cared_at = 0.0
        while not self._closing.is_set():
            self._wake.wait(_LOOK_EVERY_S)
            self._wake.clear()
            try:
                if time.monotonic() - cared_at >= _CARE_EVERY_S:
                    cared_at = time.monotonic()
                    self._care()
                self._start_queued()
            except (KeepstoneError, OperationalError) as error:
                log.warning("jobs_wait_for_the_database", error=str(error))
                self._closing.wait(_LOOK_AGAIN_S)
            except Exception:  # the end of a thread, which must not end all jobs for good
                log.exception("jobs_dispatch_failed")
                self._closing.wait(_LOOK_AGAIN_S)

    def _start_queued(self) -> None:
        room = {kind: registered.concurrency for kind, registered in self._kinds.items()}
        while self._records.any_queued(list(room)) and not self._closing.is_set():
            job_id = self._records.claim(self._worker, room)
            if job_id is None:
                return
            if not self._durable.start(job_id):
                # Its former run is just ending, or goes on in a thread that was cut off.
                self._records.release(job_id)
                return

    def _care(self) -> None:
        if active := self._runner.active():
            self._records.show_life(active)
        if not self._database.is_sqlite:
            for job_id in self._records.adopt_orphans(self._worker, _ORPHANED_AFTER):
                log.warning("job_adopted", job=job_id)
                self._run_again(job_id)
        while stalled := self._runner.take_stalled():
            self._run_again(stalled)
        self._durable.forget_finished()

    def _run_again(self, job_id: str) -> None:
        try:
            if not self._durable.adopt(job_id):
                self._records.release(job_id)
        except Exception:
            # The disk that kept its steps from being recorded is still full, or the database away: again next time.
            self._runner.note_stalled(job_id)
            raise

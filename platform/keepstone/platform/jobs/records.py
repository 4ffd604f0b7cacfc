"""The rows of the table `jobs`: the queue of work, and what people see of it.

A row in state `queued` is the whole order: whoever commits one has submitted a job, also when the process dies in the
next instant. A worker claims it by making it `running` under its own name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.access import Action, Principal, authorize, readable_collections
from keepstone.platform.database import Database
from keepstone.platform.database.tables import OPEN_JOBS, JobRow, JobState, utc_now
from keepstone.platform.errors import Conflict, NotFound

ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def find_job(session: Session, principal: Principal, job_id: str, action: Action = "read") -> JobRow:
    """Return the job, authorized for `action`.

    Raises:
        NotFound: there is none that this principal may see.
        Forbidden: it may see the job but not do this.
    """
    row = session.get(JobRow, job_id)
    if row is None:
        raise _no_such_job(job_id)
    try:
        authorize(session, principal, action, row)
    except NotFound as error:
        raise _no_such_job(job_id) from error
    return row


def readable_jobs(
    session: Session, principal: Principal, *, collection_id: str | None = None, limit: int = 100
) -> list[JobRow]:
    """Return the jobs that this principal may see, newest first."""
    query = sa.select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id).limit(limit)
    if "read" not in principal.scopes:
        return []
    if collection_id is not None:
        query = query.where(JobRow.collection_id == collection_id)
    if not principal.administers:
        readable = [row.id for row in readable_collections(session, principal)]
        query = query.where((JobRow.principal_id == principal.id) | JobRow.collection_id.in_(readable))
    return list(session.scalars(query))


class JobRecords:
    """Every change of a row, each in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, job_id: str) -> JobRow:
        """Return the row as it is now.

        Raises:
            NotFound: there is none.
        """
        with self._database.reading() as session:
            row = session.get(JobRow, job_id)
        if row is None:
            raise _no_such_job(job_id)
        return row

    def is_wanted(self, job_id: str) -> bool:
        """Tell whether the job is still there and nobody asked to stop it."""
        with self._database.reading() as session:
            stopped = session.scalar(sa.select(JobRow.cancel_requested).where(JobRow.id == job_id))
        return stopped is False

    def any_queued(self, kinds: Sequence[str]) -> bool:
        """Tell, without writing, whether there is something to claim."""
        query = sa.select(JobRow.id).where(JobRow.state == JobState.QUEUED, JobRow.kind.in_(kinds)).limit(1)
        with self._database.reading() as session:
            return session.scalar(query) is not None

    def claim(self, worker: str, room: Mapping[str, int]) -> str | None:
        """Make the oldest queued job that may run now ours, and return its id.

        Args:
            worker: our name.
            room: kinds that we know, and how many jobs of each may run here at once. A job that was cancelled while
                it waited needs no room, since only its end remains to be done.
        """
        with self._database.transaction() as session:
            running = sa.select(JobRow.kind, sa.func.count()).where(
                JobRow.state == JobState.RUNNING, JobRow.worker == worker
            )
            busy = dict(session.execute(running.group_by(JobRow.kind)).all())
            free = [kind for kind, limit in room.items() if busy.get(kind, 0) < limit]
            row = session.scalar(
                sa.select(JobRow)
                .where(JobRow.state == JobState.QUEUED, JobRow.kind.in_(room))
                .where(JobRow.kind.in_(free) | JobRow.cancel_requested)
                .order_by(JobRow.created_at, JobRow.id)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            if row is None:
                return None
            row.state, row.worker = JobState.RUNNING, worker
            return row.id

    def begin_step(self, job_id: str, worker: str, *, counted: bool) -> JobRow | None:
        """Note that a step of the job begins here, and return the row; None when there is no such open job."""
        query = (
            sa.update(JobRow)
            .where(JobRow.id == job_id, JobRow.state.in_(OPEN_JOBS))
            .values(state=JobState.RUNNING, worker=worker, attempts=JobRow.attempts + int(counted))
            .returning(JobRow)
        )
        with self._database.transaction() as session:
            return session.scalar(query)

    def end_step(self, job_id: str, done: int | None = None, total: int | None = None) -> None:
        """Note that the step in hand was done, and how far the job is."""
        progress = {name: value for name, value in (("done", done), ("total", total)) if value is not None}
        self._update(job_id, attempts=0, **progress)

    def progress(self, job_id: str, done: int, total: int) -> None:
        """Note how far the job is."""
        self._update(job_id, done=done, total=total)

    def end(self, job_id: str, state: JobState, error: str | None) -> None:
        """Close the job."""
        self._update(job_id, state=state, error=error, attempts=0)

    def release(self, job_id: str) -> None:
        """Put a job that we claimed back into the queue."""
        self._update(job_id, state=JobState.QUEUED, worker=None)

    def forgive(self, job_id: str) -> None:
        """Forget the attempts at the step in hand: it was interrupted by us and did no harm."""
        self._update(job_id, attempts=0)

    def request_cancel(self, job_id: str) -> None:
        """Ask for the end of an open job; one that has ended stays as it is.

        Raises:
            NotFound: there is no such job.
        """
        if not self._update(job_id, cancel_requested=True):
            self.get(job_id)

    def requeue(self, job_id: str) -> None:
        """Queue a failed or cancelled job again.

        Raises:
            NotFound: there is no such job.
            Conflict: it has not ended, or it succeeded.
        """
        with self._database.transaction() as session:
            row = session.get(JobRow, job_id)
            if row is None:
                raise _no_such_job(job_id)
            if row.state not in (JobState.FAILED, JobState.CANCELLED):
                raise Conflict(f"Job {job_id!r} is {row.state}", fix="Only failed and cancelled jobs can be retried")
            row.state, row.worker, row.error = JobState.QUEUED, None, None
            row.done = row.attempts = 0
            row.cancel_requested = False

    def running(self, worker: str) -> list[str]:
        """Return the ids of the jobs that this worker has."""
        with self._database.reading() as session:
            query = sa.select(JobRow.id).where(JobRow.state == JobState.RUNNING, JobRow.worker == worker)
            return list(session.scalars(query))

    def show_life(self, job_ids: Sequence[str]) -> None:
        """Renew the sign of life of jobs that are being worked on here."""
        with self._database.transaction() as session:
            session.execute(sa.update(JobRow).where(JobRow.id.in_(job_ids)).values(updated_at=utc_now()))

    def adopt_orphans(self, worker: str, silent_for: timedelta) -> list[str]:
        """Take over the jobs of other workers that gave no sign of life for that long, and return their ids."""
        with self._database.transaction() as session:
            query = (
                sa.update(JobRow)
                .where(JobRow.state == JobState.RUNNING, JobRow.worker != worker)
                .where(JobRow.updated_at < utc_now() - silent_for)
                .values(worker=worker)
                .returning(JobRow.id)
            )
            return list(session.scalars(query))

    def _update(self, job_id: str, **values: Any) -> bool:
        with self._database.transaction() as session:
            changed = session.scalar(
                sa.update(JobRow)
                .where(JobRow.id == job_id, JobRow.state.in_(OPEN_JOBS))
                .values(**values)
                .returning(JobRow.id)
            )
        return changed is not None


def _no_such_job(job_id: str) -> NotFound:
    return NotFound(f"No job {job_id!r}", fix="List them: `keepstone jobs list`")

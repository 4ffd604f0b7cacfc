"""The sources of collections, as their people see them: every call names its principal and is authorized.

sources = Sources(database=database, library=library, ingestion=ingestion, jobs=jobs, settings=settings.sources,
                  max_file_bytes=200 << 20)
sources.start()             # now and then, in a thread, orders a look through each source that is due
...
sources.stop()
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from keepstone.platform.access import Principal, find_collection
from keepstone.platform.database import Database
from keepstone.platform.database.source_tables import SourceFileRow, SourceRow
from keepstone.platform.database.tables import OPEN_JOBS, JobRow, utc_now
from keepstone.platform.errors import Conflict, InvalidInput, NotFound, did_you_mean
from keepstone.platform.jobs import Jobs
from keepstone.platform.sources_settings import SourcesSettings
from keepstone.retrieval.ingest import Ingestion
from keepstone.retrieval.library import Library
from keepstone.retrieval.names import clean_name
from keepstone.retrieval.sources.places import normal_location, open_place
from keepstone.retrieval.sources.sync import KIND, SourceSync

_LOOK_EVERY_S: Final = 30.0
# One that does not answer must not keep the others waiting.
_JOBS_AT_ONCE: Final = 2
_LONGEST_NAME: Final = 63

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A source, and how far it is taken."""

    id: str
    name: str
    """Begins the names of its documents, before a slash."""
    location: str
    files: int
    """How many files were taken, or were there already."""
    problems: int
    """How many could not be taken."""
    looking: bool
    """Whether it is being looked through."""
    leaving: bool
    """Whether it is being removed with its documents."""
    job_id: str | None
    """The last job that looked through it."""
    checked_at: datetime | None
    """When that ended; None: not yet."""
    error: str | None
    """Why the last look failed."""


@dataclass(frozen=True, slots=True)
class SourceProblem:
    """A file that could not be taken."""

    path: str
    error: str


class Sources:
    """The sources of one installation.

    Args:
        database: where the rows are.
        library: takes and deletes documents.
        ingestion: reads what was taken.
        jobs: where the work is queued; this object registers its kind there.
        settings: which places may be taken from, and how often they are looked through.
        max_file_bytes: largest file that is taken.
    """

    def __init__(
        self,
        *,
        database: Database,
        library: Library,
        ingestion: Ingestion,
        jobs: Jobs,
        settings: SourcesSettings,
        max_file_bytes: int,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._settings = settings
        self._every = timedelta(minutes=settings.every_minutes)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        sync = SourceSync(
            database,
            library,
            ingestion,
            partial(open_place, settings),
            max_files=settings.max_files,
            max_file_bytes=max_file_bytes,
        )
        jobs.register(KIND, sync, concurrency=_JOBS_AT_ONCE, own_progress=True)

    def add(self, principal: Principal, collection: str, location: str, name: str | None = None) -> SourceInfo:
        """Let a collection take its files from a place, from now on, and order the first look.

        Args:
            principal: needs to write in the collection.
            collection: name or id.
            location: a folder's path, or a URL of fsspec.
            name: begins the names of the documents; None: the last part of the location.

        Raises:
            InvalidInput: the location or the name cannot be used.
            Forbidden: files may not be taken from there.
            Conflict: the collection takes from there already, or has a source of that name.
        """
        location = normal_location(location)
        name = _checked_name(name or location.rpartition("/")[2])
        with self._database.reading() as session:
            find_collection(session, principal, collection, "write")
        open_place(self._settings, location)
        with self._database.transaction() as session:
            collection_id = find_collection(session, principal, collection, "write").id
            here = sa.select(SourceRow).where(SourceRow.collection_id == collection_id)
            taken = session.scalar(here.where((SourceRow.name == name) | (SourceRow.location == location)))
            if taken is not None:
                raise Conflict(
                    f"The collection has a source named {taken.name!r} at {taken.location} already",
                    fix="Choose another name, or leave it at that one",
                )
            row = SourceRow(
                collection_id=collection_id,
                name=name,
                location=location,
                principal_id=principal.id,
                scopes=sorted(principal.scopes),
            )
            session.add(row)
            session.flush()
            self._order(session, row)
            session.flush()
            return self._infos(session, [row])[0]

    def of(self, principal: Principal, collection: str) -> list[SourceInfo]:
        """Return the sources of a collection by name; `principal` needs to write in it."""
        with self._database.reading() as session:
            collection_id = find_collection(session, principal, collection, "write").id
            rows = session.scalars(
                sa.select(SourceRow).where(SourceRow.collection_id == collection_id).order_by(SourceRow.name)
            )
            return self._infos(session, rows.all())

    def problems(self, principal: Principal, collection: str, source: str, *, limit: int = 100) -> list[SourceProblem]:
        """Return the files of a source that could not be taken, by path, at most `limit`."""
        with self._database.reading() as session:
            row = _find(session, principal, collection, source)
            query = sa.select(SourceFileRow.path, SourceFileRow.error).where(SourceFileRow.source_id == row.id)
            failed = query.where(SourceFileRow.error.is_not(None)).order_by(SourceFileRow.path).limit(limit)
            return [SourceProblem(path, str(error)) for path, error in session.execute(failed)]

    def sync(self, principal: Principal, collection: str, source: str, *, empty: bool = False) -> str:
        """Order a look through a source now, and return the job that does it, which may be at work already.

        Args:
            principal: needs to write in the collection.
            collection: name or id.
            source: name or id.
            empty: whether the source is meant to be empty, so that all its documents may be deleted.

        Raises:
            Conflict: it is being looked through, with another purpose than is wanted now.
        """
        with self._database.transaction() as session:
            row = _find(session, principal, collection, source, hold=True)
            if empty and (job := self._open_job(session, row)):
                raise Conflict("It is being looked through", fix=f"Wait for the job {job.id}, then say so again")
            return self._order(session, row, empty=empty)

    def remove(self, principal: Principal, collection: str, source: str, *, documents: bool = False) -> str | None:
        """Take no more files from a source.

        Args:
            principal: needs to write in the collection.
            collection: name or id.
            source: name or id.
            documents: whether what was taken from it is deleted, too.

        Returns:
            The job that deletes the documents; None where they stay.
        """
        with self._database.transaction() as session:
            row = _find(session, principal, collection, source, hold=True)
            before = self._open_job(session, row)
            if before is not None:
                before.cancel_requested = True
            if not documents:
                session.delete(row)
                return None
            row.leaving, row.principal_id, row.scopes = True, principal.id, sorted(principal.scopes)
            row.job_id = None
            return self._order(session, row, after=before.id if before else None)

    def order_due(self) -> list[str]:
        """Order a look through each source that nobody has looked through for long; return the jobs."""
        due = SourceRow.checked_at.is_(None) | (SourceRow.checked_at < utc_now() - self._every)
        with self._database.reading() as session:
            ids = session.scalars(sa.select(SourceRow.id).where(due, ~SourceRow.leaving)).all()
        ordered = []
        for source_id in ids:
            with self._database.transaction() as session:
                row = session.scalar(sa.select(SourceRow).where(SourceRow.id == source_id, due).with_for_update())
                if row is not None and self._open_job(session, row) is None:
                    ordered.append(self._order(session, row))
        return ordered

    def start(self) -> None:
        """Begin to look for sources that are due, in a thread, until `stop`."""
        assert self._thread is None, "it was started already"
        self._thread = threading.Thread(target=self._run, name="sources", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End that."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(min(_LOOK_EVERY_S, self._every.total_seconds())):
            try:
                self.order_due()
            except Exception:
                # The thread must outlive a database that is away.
                log.exception("sources_wait")

    def _order(self, session: Session, row: SourceRow, *, empty: bool = False, after: str | None = None) -> str:
        """Return the job that is at work on the source, else order one; the last one is forgotten.

        The caller holds the row, so no two jobs are at work on one source.
        """
        if job := self._open_job(session, row):
            return job.id
        if row.job_id and (last := session.get(JobRow, row.job_id)):
            session.delete(last)
        row.job_id = self._jobs.submit(
            KIND,
            {"source": row.id, "empty": empty, "after": after},
            principal_id=row.principal_id,
            collection_id=row.collection_id,
            session=session,
        )
        return row.job_id

    @staticmethod
    def _open_job(session: Session, row: SourceRow) -> JobRow | None:
        job = session.get(JobRow, row.job_id) if row.job_id else None
        return job if job is not None and job.state in OPEN_JOBS else None

    def _infos(self, session: Session, rows: Sequence[SourceRow]) -> list[SourceInfo]:
        counts = {
            source_id: (seen - problems, problems)
            for source_id, seen, problems in session.execute(
                sa.select(SourceFileRow.source_id, sa.func.count(), sa.func.count(SourceFileRow.error))
                .where(SourceFileRow.source_id.in_([row.id for row in rows]))
                .group_by(SourceFileRow.source_id)
            )
        }
        infos = []
        for row in rows:
            files, problems = counts.get(row.id, (0, 0))
            infos.append(
                SourceInfo(
                    id=row.id,
                    name=row.name,
                    location=row.location,
                    files=files,
                    problems=problems,
                    looking=self._open_job(session, row) is not None,
                    leaving=row.leaving,
                    job_id=row.job_id,
                    checked_at=row.checked_at,
                    error=row.error,
                )
            )
        return infos


def _checked_name(name: str) -> str:
    cleaned = clean_name(name)
    if "/" in cleaned or len(cleaned) > _LONGEST_NAME or cleaned.startswith("src_"):
        raise InvalidInput(
            f"A source cannot be named {name[:80]!r}", fix=f"Use 1 to {_LONGEST_NAME} characters without a slash"
        )
    return cleaned


def _find(session: Session, principal: Principal, collection: str, source: str, *, hold: bool = False) -> SourceRow:
    """Return the source of that name or id; `hold` it where it is to be changed, until the transaction ends.

    Raises:
        NotFound: there is none.
        Forbidden: the principal may read the collection but not write in it.
    """
    collection_id = find_collection(session, principal, collection, "write").id
    here = sa.select(SourceRow).where(SourceRow.collection_id == collection_id)
    query = here.where((SourceRow.name == source) | (SourceRow.id == source))
    row = session.scalar(query.with_for_update() if hold else query)
    if row is None:
        names = session.scalars(sa.select(SourceRow.name).where(SourceRow.collection_id == collection_id)).all()
        fix = did_you_mean(source, list(names)) if names else "Add one: `keepstone sources add LOCATION`"
        raise NotFound(f"The collection has no source {source!r}", fix=fix)
    return row

"""What jobs came to, each in a file under the job's id, for those who own the collection that it worked in.

reports = Reports(database, home / "tunings", kind="tune", of=TuningReport)
reports.keep(job.id, report)
reports.get(principal, job_id).advice
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Generic, TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError

from keepstone.platform.access import Principal, find_collection
from keepstone.platform.database import Database
from keepstone.platform.database.tables import JobRow
from keepstone.platform.errors import NotFound, storage_errors
from keepstone.platform.jobs import JobInfo
from keepstone.retrieval.indexes.files import write_atomically
from keepstone.training.evaluate.kept import Kept

T = TypeVar("T")


class Reports(Generic[T]):
    """The reports of one kind of job.

    Args:
        database: where the jobs are.
        folder: where the reports are, with what jobs that have not ended measured by now.
        kind: of job.
        of: the dataclass of a report.
    """

    def __init__(self, database: Database, folder: Path, *, kind: str, of: type[T]) -> None:
        self._database, self.folder, self._kind = database, folder, kind
        self._form: TypeAdapter[T] = TypeAdapter(of)

    def keep(self, job_id: str, report: T) -> None:
        """Write a report.

        Raises:
            StorageFull: no room.
        """
        with storage_errors("keeping a report"):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self._path(job_id), self._form.dump_json(report))

    def get(self, principal: Principal, job_id: str) -> T:
        """Return a report.

        Raises:
            NotFound: there is no such job, it worked in another's collection, or it came to no end.
        """
        with self._database.reading() as session:
            job = session.get(JobRow, job_id)
            if job is None or job.kind != self._kind or job.collection_id is None:
                raise NotFound(f"No job {job_id!r} of the kind {self._kind!r}", fix="See `keepstone jobs list`")
            find_collection(session, principal, job.collection_id, "own")
        try:
            return self._form.validate_json(self._path(job_id).read_bytes())
        except FileNotFoundError as error:
            raise NotFound("This job has come to no end", fix=f"See `keepstone jobs show {job_id}`") from error
        except ValidationError as error:
            raise NotFound("Another version of Keepstone wrote this report", fix="Order the job again") from error

    def measured(self, job: JobInfo) -> Kept:
        """Return what a job has measured by now."""
        return Kept(self.folder / f"{job.id}.measured", job.id)

    def tidy(self) -> None:
        """Remove what belongs to jobs that are gone, such as those in deleted collections."""
        if not self.folder.is_dir():
            return
        with self._database.reading() as session:
            there = set(session.scalars(sa.select(JobRow.id).where(JobRow.kind == self._kind)))
        for path in self.folder.iterdir():
            if path.name.partition(".")[0] in there:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _path(self, job_id: str) -> Path:
        return self.folder / f"{job_id}.json"

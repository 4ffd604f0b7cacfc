"""One look through a source: the durable job that takes what is new or has changed and deletes what has vanished.

Its plan lists the source and compares it with what was seen there before; nothing is deleted unless the whole listing
came through. A file's row is written before its document and deleted after it, so a kill at any line leaves nothing
that the next look does not see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from keepstone.platform.access import Principal, find_collection
from keepstone.platform.database import Database
from keepstone.platform.database.source_tables import SourceFileRow, SourceRow
from keepstone.platform.database.tables import OPEN_JOBS, DocumentRow, DocumentState, JobRow, PrincipalRow, utc_now
from keepstone.platform.errors import Cancelled, Conflict, Forbidden, KeepstoneError, LimitExceeded, Unavailable
from keepstone.platform.jobs import JobInfo
from keepstone.retrieval.embeddings import batched
from keepstone.retrieval.ingest import Ingestion
from keepstone.retrieval.library import Library
from keepstone.retrieval.names import clean_name, refuse_repeated
from keepstone.retrieval.sources.base import FoundFile, Place, SteadyReader

KIND: Final = "sync"
_UNIT_FILES: Final = 200
# As many files in a row that cannot be reached mean that the place cannot.
_MOST_UNREACHED: Final = 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Source:
    id: str
    collection_id: str
    name: str
    location: str
    leaving: bool
    principal: Principal


class SourceSync:
    """The job kind `sync`, for one source.

    Arguments of the job: `source`, `empty` (whether it is meant to be empty), and `after`, a job to wait for.

    Args:
        database: where the rows are.
        library: takes and deletes documents.
        ingestion: reads what was taken.
        open_place: returns the place that a location names.
        max_files: how many files a source may have.
        max_file_bytes: largest file that is taken.
    """

    def __init__(
        self,
        database: Database,
        library: Library,
        ingestion: Ingestion,
        open_place: Callable[[str], Place],
        *,
        max_files: int,
        max_file_bytes: int,
    ) -> None:
        self._database = database
        self._library = library
        self._ingestion = ingestion
        self._open_place = open_place
        self._max_files = max_files
        self._max_file_bytes = max_file_bytes

    def plan(self, job: JobInfo) -> list[Any]:
        """List the source, and cut what is to be done into units: what vanished, then what is to be read.

        Raises:
            Conflict: it has become empty.
            LimitExceeded: it has too many files.
            Forbidden: who added it may not write in the collection any more, or the place is not allowed any more.
            Unavailable: it does not answer.
        """
        source = self._source(job)
        with self._database.reading() as session:
            before = session.get(JobRow, job.args["after"]) if job.args["after"] else None
            if before is not None and before.state in OPEN_JOBS:
                raise Unavailable("The look that is under way is being ended", fix="Wait a moment")
            seen = sa.select(SourceFileRow).where(SourceFileRow.source_id == source.id)
            known = {row.path: row for row in session.scalars(seen)}
        if source.leaving:
            return _units(sorted(known), [])
        found = self._found(job, source)
        if not found and known and not job.args["empty"]:
            raise Conflict(
                f"{source.location} is empty, although {len(known)} files were taken from it; nothing was deleted",
                fix=f"If it is meant to be empty: `keepstone sources sync {source.name!r} --empty`",
            )
        closed = tuple(f"{file.path}/" for file in found.values() if file.problem)
        vanished = sorted(path for path in known if path not in found and not path.startswith(closed))
        self._note_problems(source, found)
        changed = sorted(
            path
            for path, file in found.items()
            if file.problem is None and (path not in known or file.stamp is None or known[path].stamp != file.stamp)
        )
        return [*_units(vanished, changed), {"twins": True}]

    def run(self, job: JobInfo, unit: Any) -> None:
        """Do one unit."""
        source = self._source(job)
        if "twins" in unit:
            for paths in batched(self._lost_twins(source), _UNIT_FILES):
                self._take(job, source, paths)
            return
        job.progress(unit["first"], unit["total"])
        if "vanished" in unit:
            self._drop(job, source, unit["vanished"])
        else:
            self._take(job, source, unit["changed"])
        job.progress(unit["last"], unit["total"])

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Note how it went, and forget the source when it was to be removed."""
        with self._database.transaction() as session:
            row = session.get(SourceRow, job.args["source"])
            if row is None or row.job_id != job.id:
                return
            row.checked_at, row.error = utc_now(), error
            if row.leaving and error is None:
                session.delete(row)

    def _source(self, job: JobInfo) -> _Source:
        with self._database.reading() as session:
            row = session.get(SourceRow, job.args["source"])
            if row is None:
                raise Cancelled("The source was removed")
            owner = session.get(PrincipalRow, row.principal_id) if row.principal_id else None
            if owner is None or owner.disabled:
                raise Forbidden(
                    "Who added this source may do nothing here any more", fix="Remove it, and add it as somebody else"
                )
            principal = Principal(owner.id, owner.name, is_admin=owner.is_admin, scopes=frozenset(row.scopes))
            find_collection(session, principal, row.collection_id, "write")
            return _Source(row.id, row.collection_id, row.name, row.location, row.leaving, principal)

    def _found(self, job: JobInfo, source: _Source) -> Mapping[str, FoundFile]:
        """Return the files of the source by path, with a problem where one cannot be taken."""
        files: list[FoundFile] = []
        for file in self._open_place(source.location).files():
            job.check_cancelled()
            files.append(file)
            if len(files) > self._max_files:
                raise LimitExceeded(
                    f"{source.location} has more than {self._max_files} files; none was taken",
                    fix="Take folders in it one by one, or raise sources.max_files in keepstone.toml",
                )
        taken: set[str] = set()
        return {file.path: self._judged(source, file, taken) for file in sorted(files, key=lambda each: each.path)}

    def _judged(self, source: _Source, file: FoundFile, taken: set[str]) -> FoundFile:
        if file.problem is not None:
            return file
        try:
            refuse_repeated(_name(source, file.path), taken)
            if file.size is not None and file.size > self._max_file_bytes:
                raise LimitExceeded(
                    f"The file is larger than {self._max_file_bytes / 2**20:.4g} MiB",
                    fix="Split it, or raise ingestion.max_file_mb in keepstone.toml",
                )
        except KeepstoneError as error:
            return FoundFile(file.path, file.size, file.stamp, str(error))
        return file

    def _note_problems(self, source: _Source, found: Mapping[str, FoundFile]) -> None:
        with self._database.transaction() as session:
            for file in found.values():
                if file.problem is not None:
                    row = _row(session, source, file.path)
                    row.stamp, row.error = None, file.problem

    def _drop(self, job: JobInfo, source: _Source, paths: Sequence[str]) -> None:
        """Delete the documents of files that are gone still."""
        place = None if source.leaving else self._open_place(source.location)
        for path in paths:
            job.check_cancelled()
            if place is not None and place.has(path):
                continue
            with self._database.reading() as session:
                document_id = session.scalar(_document(source, path))
            if document_id is not None:
                self._library.delete_document(source.principal, document_id)
            with self._database.transaction() as session:
                session.execute(
                    sa.delete(SourceFileRow).where(SourceFileRow.source_id == source.id, SourceFileRow.path == path)
                )

    def _take(self, job: JobInfo, source: _Source, paths: Sequence[str]) -> None:
        with self._database.transaction() as session:
            for path in paths:
                _row(session, source, path)
        read: dict[str, SteadyReader] = {}
        files = self._opened(job, source, paths, read)
        added = self._library.add_documents(source.principal, source.collection_id, files)
        with self._database.transaction() as session:
            for path, outcome in zip(paths, added, strict=True):
                row = _row(session, source, path)
                row.stamp = row.same_as = row.error = None
                if isinstance(outcome, KeepstoneError):
                    row.error = str(outcome)
                    continue
                row.stamp = read[path].stamp
                if outcome.outcome == "duplicate":
                    row.same_as = read[path].sha256
        # Also those that a kill left waiting without a job.
        waiting = [
            outcome.document.id
            for outcome in added
            if not isinstance(outcome, KeepstoneError) and outcome.document.state == DocumentState.QUEUED
        ]
        if waiting:
            self._ingestion.submit(source.principal, source.collection_id, waiting)

    def _opened(
        self, job: JobInfo, source: _Source, paths: Sequence[str], read: dict[str, SteadyReader]
    ) -> Iterator[tuple[str, BinaryIO | KeepstoneError]]:
        place = self._open_place(source.location)
        unreached = 0
        for path in paths:
            job.check_cancelled()
            name = _name(source, path)
            try:
                with place.open(path) as stream:
                    read[path] = stream
                    unreached = 0
                    yield name, cast("BinaryIO", stream)
            except KeepstoneError as error:
                unreached += isinstance(error, Unavailable)
                if unreached >= _MOST_UNREACHED:
                    raise
                yield name, error

    def _lost_twins(self, source: _Source) -> Sequence[str]:
        """Return the files that were left out for a document of the same bytes which is there no more."""
        will_be = sa.func.coalesce(DocumentRow.pending_sha256, DocumentRow.sha256)
        in_collection = DocumentRow.collection_id == source.collection_id
        twin = sa.exists().where(in_collection, will_be == SourceFileRow.same_as)
        left_out = (SourceFileRow.source_id == source.id, SourceFileRow.same_as.is_not(None), ~twin)
        with self._database.reading() as session:
            return session.scalars(sa.select(SourceFileRow.path).where(*left_out).order_by(SourceFileRow.path)).all()


def _name(source: _Source, path: str) -> str:
    return f"{source.name}/{path}"


def _document(source: _Source, path: str) -> sa.Select[str]:
    try:
        name = clean_name(_name(source, path))
    except KeepstoneError:
        name = ""  # it never became a document
    return sa.select(DocumentRow.id).where(DocumentRow.collection_id == source.collection_id, DocumentRow.name == name)


def _row(session: Session, source: _Source, path: str) -> SourceFileRow:
    row = session.get(SourceFileRow, (source.id, path))
    if row is None:
        row = SourceFileRow(source_id=source.id, path=path)
        session.add(row)
    return row


def _units(vanished: Sequence[str], changed: Sequence[str]) -> list[Any]:
    """What vanished comes first, so that a file that was renamed is not taken for a copy of itself."""
    units: list[Any] = []
    total, first = len(vanished) + len(changed), 0
    for kind, paths in (("vanished", vanished), ("changed", changed)):
        for some in batched(paths, _UNIT_FILES):
            units.append({"first": first, "last": first + len(some), "total": total, kind: list(some)})
            first += len(some)
    return units

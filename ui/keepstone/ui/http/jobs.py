"""Jobs: watch long work, stop it, try it again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlalchemy.orm import Session

from keepstone.platform.access import find_collection
from keepstone.platform.database.tables import OPEN_JOBS, CollectionRow, DocumentRow, JobRow, JobState
from keepstone.platform.jobs.records import find_job, readable_jobs
from keepstone.retrieval.documents import DocumentInfo
from keepstone.retrieval.ingest import KIND as INGEST
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.listings import Listing
from keepstone.ui.runtime import Runtime

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
# Well below the smallest limit on bound variables of a statement.
_IDS_PER_STATEMENT = 5000


class Job(BaseModel):
    """A job, as people watch it."""

    id: str
    kind: str
    collection: str | None
    """Name of the collection it works in."""
    state: str
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    done: int
    total: int
    cancel_requested: bool
    error: str | None
    waiting: str | None
    """What it waits for before it goes on, such as room on the disk; null while it works."""
    created_at: datetime
    updated_at: datetime
    documents: dict[str, int] | None = None
    """Ingestion, when asked for one job: how many of its documents are in each state."""


@router.get("")
def list_jobs(
    principal: CurrentPrincipal,
    runtime: TheRuntime,
    collection: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Listing[Job]:
    """List the jobs that the caller may see, newest first."""
    with runtime.database.reading() as session:
        collection_id = find_collection(session, principal, collection).id if collection else None
        rows = readable_jobs(session, principal, collection_id=collection_id, limit=limit)
        names = collection_names(session, rows)
    return Listing(data=[view(runtime, row, names) for row in rows])


@router.get("/{job_id}")
def get_job(job_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Job:
    """Return one job, with the states of its documents."""
    with runtime.database.reading() as session:
        row = find_job(session, principal, job_id)
        states = _document_states(session, row) if row.kind == INGEST else None
        return view(runtime, row, collection_names(session, [row]), states)


@router.get("/{job_id}/documents")
def list_job_documents(job_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Listing[DocumentInfo]:
    """Return the documents that an ingestion job was given, as they are now; deleted ones are left out."""
    with runtime.database.reading() as session:
        row = find_job(session, principal, job_id)
        # The job's owner may have lost the right to read the collection since.
        if row.collection_id is None:
            return Listing(data=[])
        find_collection(session, principal, row.collection_id)
        wanted = row.args.get("documents", [])
    return Listing(data=runtime.library.documents_by_id(principal, row.collection_id, wanted))


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(job_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Job:
    """Ask for the end of a job; it ends after the unit in hand."""
    with runtime.database.reading() as session:
        find_job(session, principal, job_id, "write")
    runtime.jobs.cancel(job_id)
    return get_job(job_id, principal, runtime)


@router.post("/{job_id}/retry", status_code=202)
def retry_job(job_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Job:
    """Run a failed or cancelled job again."""
    with runtime.database.reading() as session:
        row = find_job(session, principal, job_id, "write")
    # It acts once more with the scopes that it was ordered with.
    for scope in row.args.get("scopes", ()):
        principal.needs_scope(scope)
    if row.kind == INGEST and row.collection_id and row.state in (JobState.FAILED, JobState.CANCELLED):
        runtime.library.requeue(principal, row.collection_id, row.args["documents"])
    runtime.jobs.retry(job_id)
    return get_job(job_id, principal, runtime)


def view(runtime: Runtime, row: JobRow, names: Mapping[str, str], states: dict[str, int] | None = None) -> Job:
    """Return a job as clients see it."""
    return Job(
        id=row.id,
        kind=row.kind,
        collection=names.get(row.collection_id or ""),
        state=row.state,
        done=row.done,
        total=row.total,
        cancel_requested=row.cancel_requested,
        error=row.error,
        waiting=runtime.jobs.waits_for(row.id) if row.state in OPEN_JOBS else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
        documents=states,
    )


def collection_names(session: Session, jobs: list[JobRow]) -> dict[str, str]:
    """Return the names of the jobs' collections by id."""
    ids = {job.collection_id for job in jobs if job.collection_id}
    rows = session.execute(sa.select(CollectionRow.id, CollectionRow.name).where(CollectionRow.id.in_(ids)))
    return {row.id: row.name for row in rows}


def _document_states(session: Session, job: JobRow) -> dict[str, int]:
    ids: list[Any] = job.args.get("documents", [])
    counts: dict[str, int] = {}
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        query = (
            sa.select(DocumentRow.state, sa.func.count())
            .where(DocumentRow.id.in_(ids[start : start + _IDS_PER_STATEMENT]))
            .group_by(DocumentRow.state)
        )
        for state, count in session.execute(query):
            counts[state] = counts.get(state, 0) + count
    return counts

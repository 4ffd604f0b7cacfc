"""The durable job that builds the index of a collection under another encoder: it goes on where a kill left it.

job_id = ReindexJobs(database, reindexing, jobs).submit(principal, "manuals", "minilm-tuned@1f0c...")
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from keepstone.platform.access import Principal, find_collection
from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChunkRow, IndexState
from keepstone.platform.errors import NotFound
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.retrieval.embeddings import batched
from keepstone.retrieval.reindex import Reindexing

KIND: Final = "reindex"
_UNIT_PASSAGES: Final = 2048


class ReindexJobs:
    """The job kind `reindex`.

    Args:
        database: where the passages are.
        reindexing: does the work.
        jobs: where it is queued; this object registers itself there.
    """

    def __init__(self, database: Database, reindexing: Reindexing, jobs: Jobs) -> None:
        self._database, self._reindexing, self._jobs = database, reindexing, jobs
        jobs.register(KIND, self, own_progress=True)

    def submit(self, principal: Principal, collection: str, version: str) -> str:
        """Queue the building of an index, by the version of its encoder, and return the job's id.

        Raises:
            NotFound: they may not read the collection, or there is none.
            Forbidden: it is not their own.
        """
        with self._database.transaction() as session:
            collection_id = find_collection(session, principal, collection, "own").id
            return self._jobs.submit(
                KIND, {"encoder": version}, principal_id=principal.id, collection_id=collection_id, session=session
            )

    def plan(self, job: JobInfo) -> list[Any]:
        """Cut the passages into units `[first id, last id]`; an empty one, at the end, completes the index."""
        collection_id, version = _of(job)
        if not self._reindexing.begin(collection_id, version):
            return []
        query = sa.select(ChunkRow.id).where(ChunkRow.collection_id == collection_id).order_by(ChunkRow.id)
        with self._database.reading() as session:
            ids = session.scalars(query).all()
        return [*([some[0], some[-1]] for some in batched(ids, _UNIT_PASSAGES)), []]

    def run(self, job: JobInfo, unit: Any) -> None:
        """Encode the passages of one unit that are not encoded yet, or complete the index."""
        collection_id, version = _of(job)
        if unit:
            first, last = unit
            self._reindexing.encode(
                collection_id, version, (first, last), report=job.progress, check=job.check_cancelled
            )
        else:
            self._reindexing.build(collection_id, version, report=job.progress, check=job.check_cancelled)

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Give up what was not completed."""
        if error is None:
            return
        collection_id, version = _of(job)
        try:
            known = self._reindexing.versions(collection_id)
        except NotFound:
            return
        if any(each.encoder == version and each.state == IndexState.BUILDING for each in known):
            self._reindexing.discard(collection_id, version)


def _of(job: JobInfo) -> tuple[str, str]:
    assert job.collection_id is not None, "submit names it"
    return job.collection_id, job.args["encoder"]

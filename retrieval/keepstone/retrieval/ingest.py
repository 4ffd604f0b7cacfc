"""Ingestion: the durable job that turns queued documents into chunks, vectors and changes for the indexes.

A job is cut into units of a few documents. Each unit loads its files in the worker pool, splits them, encodes all their
chunks together, and commits each document in one transaction: a kill at any line leaves a document either as it was or
done, and what was encoded before, or written by a language model, is found in the cache. One file's error is that
file's alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from keepstone.platform.access import Principal, find_collection
from keepstone.platform.blobs import BlobStore
from keepstone.platform.database import Database
from keepstone.platform.database.tables import (
    OPEN_JOBS,
    STOPPED,
    UNFINISHED,
    CollectionRow,
    DocumentRow,
    DocumentState,
    IndexState,
    IndexVersionRow,
    JobRow,
)
from keepstone.platform.errors import Cancelled, InvalidInput, KeepstoneError, StorageFull, Unavailable
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.platform.settings import ChunkingSettings
from keepstone.retrieval import embeddings, originals
from keepstone.retrieval.chunk_rows import add_chunks
from keepstone.retrieval.chunking import choose, chunking_of
from keepstone.retrieval.chunking.placement import Placer, forget_unused
from keepstone.retrieval.chunking.way import Way, open_way
from keepstone.retrieval.embeddings import batched
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes.catalog import IndexSet
from keepstone.retrieval.late import SLICE, embed_documents, window_encoder
from keepstone.retrieval.library import remove_chunks
from keepstone.retrieval.loaders.worker import LoadPool
from keepstone.retrieval.types import Chunk, Document

KIND = "ingest"
_UNIT_DOCUMENTS = 128
_UNIT_BYTES = 4 * 2**20
# The pool bounds how many files are read at once; further threads split what it has read.
_LOAD_THREADS = 3
_JOB_DOCUMENTS = 1000
# A second job goes on beside one that is at work on a huge document.
_JOBS_AT_ONCE = 2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A document between its file and its rows."""

    document_id: str
    sha256: str
    document: Document
    chunks: list[Chunk]


class Ingestion:
    """The job kind `ingest`.

    Args:
        database: where rows go.
        blobs: where the files' bytes are.
        pool: loads files in processes that may be killed.
        encoders: make the vectors; each collection has its own.
        indexes: told when there is something new.
        chunking: how documents are cut, in collections without a choice of their own.
        jobs: where the work is queued; this object registers itself there.
        placer: asks the language model for the places of passages in their documents; None where there is none.
    """

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        pool: LoadPool,
        encoders: Encoders,
        indexes: IndexSet,
        chunking: ChunkingSettings,
        jobs: Jobs,
        placer: Placer | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._pool = pool
        self._encoders = encoders
        self._indexes = indexes
        self._chunking = chunking
        self._jobs = jobs
        self._placer = placer
        jobs.register(KIND, self, concurrency=_JOBS_AT_ONCE, own_progress=True)

    def submit(self, principal: Principal, collection: str, document_ids: Sequence[str]) -> str:
        """Queue the ingestion of documents that the library holds as `queued`; return the job's id."""
        with self._database.transaction() as session:
            collection_id = find_collection(session, principal, collection, "write").id
            return self._jobs.submit(
                KIND,
                {"documents": list(document_ids)},
                principal_id=principal.id,
                collection_id=collection_id,
                session=session,
            )

    def rechunk(
        self, principal: Principal, collection: str, chunking: Mapping[str, Any], *, session: Session | None = None
    ) -> list[str]:
        """Let the documents of a collection be cut in another way, those that are there and those to come.

        A document's old chunks are searched until its new ones take their place, as when a file has changed.

        Args:
            principal: needs to own the collection.
            collection: name or id.
            chunking: what is to be otherwise than in the settings, as `chunking.choose` reads it; where nothing is, the
                collection follows the settings again.
            session: a transaction that this is to be part of.

        Returns:
            The ids of the jobs that do it; none where there are no documents.

        Raises:
            InvalidInput: there is no such option, or it cannot have that value, or not with the collection's encoder.
        """
        if session is None:
            with self._database.transaction() as own:
                return self.rechunk(principal, collection, chunking, session=own)
        row = find_collection(session, principal, collection, "own")
        chosen = choose(self._chunking, chunking)
        if chosen.late:
            window_encoder(self._encoders.get(row.encoder))
        row.chunking = chosen.model_dump() if chunking else None
        # Also those that a job at work has done already: it will not come back to them.
        return self._submit_all(session, {row.id: _requeue_all(session, row.id)}, principal.id)

    def resume(self) -> list[str]:
        """Queue what waits without a job, and what another encoder made; return the new jobs' ids.

        Called once at start. A process may die between storing a file and queueing its job, and the encoder named in
        the settings may have changed since the last start: collections without one of their own follow.
        """
        default = self._encoders.default.version
        own = sa.exists().where(
            IndexVersionRow.collection_id == CollectionRow.id, IndexVersionRow.state == IndexState.LIVE
        )
        with self._database.transaction() as session:
            changed = sa.select(CollectionRow).where(CollectionRow.encoder != default, ~own)
            for collection in session.scalars(changed).all():
                log.info("encoder_changed", collection=collection.name, encoder=default)
                _requeue_all(session, collection.id)
                collection.encoder = default
            return self._submit_all(session, _without_job(session), None)

    def _submit_all(
        self, session: Session, waiting: Mapping[str, Sequence[str]], principal_id: str | None
    ) -> list[str]:
        return [
            self._jobs.submit(
                KIND, {"documents": list(ids)}, principal_id=principal_id, collection_id=collection_id, session=session
            )
            for collection_id, all_ids in waiting.items()
            for ids in batched(all_ids, _JOB_DOCUMENTS)
        ]

    def plan(self, job: JobInfo) -> list[Any]:
        """Cut the job into units `[first, ids]`, each few enough documents that their chunks fit into memory."""
        documents: list[str] = job.args["documents"]
        with self._database.transaction() as session:
            # On a retry of the whole job, what it left undone waits again.
            session.execute(
                sa.update(DocumentRow)
                .where(DocumentRow.id.in_(documents), DocumentRow.state.in_(STOPPED))
                .where(DocumentRow.pending_sha256.is_not(None))
                .values(state=DocumentState.QUEUED, error=None)
            )
            rows = session.execute(sa.select(DocumentRow.id, DocumentRow.size).where(DocumentRow.id.in_(documents)))
            sizes = {row.id: row.size for row in rows}
        units: list[list[Any]] = []
        room = 0
        for index, document_id in enumerate(documents):
            size = sizes.get(document_id, 0)
            if not units or len(units[-1][1]) >= _UNIT_DOCUMENTS or size > room:
                units.append([index, []])
                room = _UNIT_BYTES
            units[-1][1].append(document_id)
            room -= size
        job.progress(0, len(documents))
        return units

    def run(self, job: JobInfo, unit: Any) -> None:
        """Bring the documents of one unit into the collection; those that are done already are passed over."""
        first, document_ids = unit
        way = self._way(job)
        total = len(job.args["documents"])
        done = first
        for group in self._groups(self._load_all(job, way, self._claim(document_ids))):
            self._set_state([each.document_id for each in group], DocumentState.ENCODING)
            encoded = self._encoded(job, way.encoder, group)
            job.check_cancelled()
            with self._database.transaction() as session:
                self._database.lock_changes(session)
                replaced = [self._replace(session, way, each) for each in encoded]
            originals.release(self._database, self._blobs, replaced)
            done += len(group)
            job.progress(done, total)
            if job.collection_id:
                self._indexes.notify(job.collection_id)
        job.progress(first + len(document_ids), total)

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Give what the job left undone a final state, and let the indexes catch up with what it did."""
        if job.collection_id:
            self._indexes.catch_up(job.collection_id)
        with self._database.transaction() as session:
            session.execute(
                sa.update(DocumentRow)
                .where(DocumentRow.id.in_(job.args["documents"]), DocumentRow.state.in_(UNFINISHED))
                .values(state=DocumentState.CANCELLED if job.cancelled else DocumentState.FAILED, error=error)
            )

    def _claim(self, document_ids: Sequence[str]) -> list[tuple[str, str, str]]:
        """Return (id, sha256, name) of the documents that still wait, and mark them as being loaded."""
        with self._database.transaction() as session:
            rows = session.scalars(
                sa.select(DocumentRow).where(
                    DocumentRow.id.in_(document_ids),
                    DocumentRow.pending_sha256.is_not(None),
                    DocumentRow.state.in_(UNFINISHED),
                )
            ).all()
            for row in rows:
                row.state = DocumentState.LOADING
            return [(row.id, str(row.pending_sha256), row.name) for row in rows]

    def _way(self, job: JobInfo) -> Way:
        with self._database.reading() as session:
            collection = session.get(CollectionRow, job.collection_id)
            version = collection.encoder if collection else self._encoders.default.version
            chunking = chunking_of(collection, self._chunking) if collection else self._chunking
        encoder = self._encoders.get(version)
        return open_way(chunking, encoder, self._placer)

    def _load_all(self, job: JobInfo, way: Way, pending: Sequence[tuple[str, str, str]]) -> Iterator[_Loaded]:
        def load(item: tuple[str, str, str]) -> _Loaded | None:
            job.check_cancelled()
            document_id, sha256, name = item
            try:
                with self._blobs.local_path(sha256) as path:
                    document = self._pool.load(path, name)
                chunks = way.cut(document_id, document, check=job.check_cancelled)
            except (Cancelled, StorageFull, Unavailable):
                raise
            except KeepstoneError as error:
                self._fail(document_id, sha256, error)
                return None
            return _Loaded(document_id, sha256, document, chunks)

        with ThreadPoolExecutor(max_workers=_LOAD_THREADS, thread_name_prefix="load") as threads:
            for loaded in threads.map(load, pending):
                if loaded is not None:
                    yield loaded

    @staticmethod
    def _groups(loaded: Iterable[_Loaded]) -> Iterator[list[_Loaded]]:
        """Gather small documents until their chunks fill a slice; meanwhile the pool reads on."""
        group: list[_Loaded] = []
        chunks = 0
        for each in loaded:
            group.append(each)
            chunks += len(each.chunks)
            if chunks >= SLICE:
                yield group
                group, chunks = [], 0
        if group:
            yield group

    def _encoded(self, job: JobInfo, encoder: Encoder, group: Sequence[_Loaded]) -> Sequence[_Loaded]:
        """Return the documents of a group whose chunks could be encoded; an encoder may refuse texts."""
        try:
            self._encode(job, encoder, [(each.document.text, each.chunks) for each in group])
        except InvalidInput as error:
            if len(group) == 1:
                self._fail(group[0].document_id, group[0].sha256, error)
                return []
            return [each for one in group for each in self._encoded(job, encoder, [one])]
        return group

    def _encode(self, job: JobInfo, encoder: Encoder, documents: Sequence[tuple[str, Sequence[Chunk]]]) -> None:
        for embedded in embed_documents(self._database, encoder, documents, check=job.check_cancelled):
            with self._database.transaction() as session:
                embeddings.store(session, embedded.new_rows)

    def _replace(self, session: Session, way: Way, loaded: _Loaded) -> str | None:
        """Put the new version in the place of the old one, whose bytes it names."""
        row = session.get(DocumentRow, loaded.document_id)
        if row is None or row.pending_sha256 != loaded.sha256:
            return None  # deleted, or changed once more, while it was being read
        collection = session.get_one(CollectionRow, row.collection_id)
        if chunking_of(collection, self._chunking) != way.chunking:
            raise Unavailable(f"{row.name!r} is to be cut in another way since", fix="That is done now")
        hashes = [embeddings.passage_hash(chunk) for chunk in loaded.chunks]
        if embeddings.missing(session, collection.encoder, hashes):
            # They went as garbage since they were asked for, or the collection was switched to another encoder.
            raise Unavailable(f"Vectors of {row.name!r} went meanwhile", fix="They are made again")
        remove_chunks(session, row)
        add_chunks(session, row, loaded.chunks)
        if way.placer is not None:
            forget_unused(session, row.id)
        document = loaded.document
        row.text = document.text
        row.pages = [list(asdict(page).values()) for page in document.pages]
        row.headings = [list(asdict(heading).values()) for heading in document.headings]
        row.boxes = [list(asdict(box).values()) for box in document.boxes]
        row.media_type, row.title, row.language = document.media_type, document.title, document.language
        row.parser, row.chunker = document.parser, way.description
        row.details = dict(document.details)
        replaced = row.sha256
        row.sha256, row.pending_sha256 = loaded.sha256, None
        row.chunk_count = len(loaded.chunks)
        row.state, row.error = DocumentState.READY, None
        return replaced

    def _set_state(self, document_ids: Sequence[str], state: DocumentState) -> None:
        with self._database.transaction() as session:
            session.execute(
                sa.update(DocumentRow)
                .where(DocumentRow.id.in_(document_ids), DocumentRow.pending_sha256.is_not(None))
                .values(state=state)
            )

    def _fail(self, document_id: str, sha256: str, error: KeepstoneError) -> None:
        log.info("document_failed", document=document_id, reason=error.code)
        with self._database.transaction() as session:
            session.execute(
                sa.update(DocumentRow)
                .where(DocumentRow.id == document_id, DocumentRow.pending_sha256 == sha256)
                .values(state=DocumentState.FAILED, error=str(error))
            )


def _requeue_all(session: Session, collection_id: str) -> Sequence[str]:
    """Queue every document that was ready once, and return their ids."""
    were_ready = (DocumentRow.collection_id == collection_id, DocumentRow.sha256.is_not(None))
    session.execute(
        sa.update(DocumentRow)
        .where(*were_ready)
        .values(
            state=DocumentState.QUEUED, pending_sha256=sa.func.coalesce(DocumentRow.pending_sha256, DocumentRow.sha256)
        )
    )
    oldest_first = sa.select(DocumentRow.id).where(*were_ready).order_by(DocumentRow.created_at, DocumentRow.id)
    return session.scalars(oldest_first).all()


def _without_job(session: Session) -> dict[str, list[str]]:
    """Return, by collection, the unfinished documents that no unfinished job names."""
    named: set[str] = set()
    active = sa.select(JobRow.args).where(JobRow.kind == KIND, JobRow.state.in_(OPEN_JOBS))
    for args in session.scalars(active):
        named.update(args["documents"])
    waiting: dict[str, list[str]] = {}
    rows = session.execute(
        sa.select(DocumentRow.collection_id, DocumentRow.id)
        .where(DocumentRow.state.in_(UNFINISHED), DocumentRow.pending_sha256.is_not(None))
        .order_by(DocumentRow.created_at, DocumentRow.id)
    )
    for collection_id, document_id in rows:
        if document_id not in named:
            waiting.setdefault(collection_id, []).append(document_id)
    return waiting

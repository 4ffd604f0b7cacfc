"""Upkeep: takes away, now and then, what nothing refers to any more.

upkeep = Upkeep(database, blobs, indexes, reindexing)
upkeep.start()          # a round soon after, then one every hour, in a thread
...
upkeep.stop()

A round deletes indexes that nobody has asked for lately, changes that all saved indexes have learned, vectors that no
index wants, and the bytes of documents that a kill left behind when they were deleted. Then it encodes what was added
since for the indexes that are kept beside those in use. Every step is a transaction of its own, and none is needed for
the next: a kill between two of them costs nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
import structlog

from keepstone.platform.blobs import BlobStore
from keepstone.platform.database import Database
from keepstone.platform.database.tables import UNFINISHED, DocumentRow
from keepstone.platform.errors import Cancelled
from keepstone.retrieval import embeddings, originals
from keepstone.retrieval.indexes.catalog import IndexSet
from keepstone.retrieval.reindex import Reindexing

_FIRST_AFTER_S: Final = 60.0
_EVERY_S: Final = 3600.0
_VECTORS_AT_ONCE: Final = 10_000
_BLOBS_AT_ONCE: Final = 1_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TidiedUp:
    """What a round took away."""

    changes: int
    vectors: int
    blobs: int


class Upkeep:
    """The rounds of one process.

    Args:
        database: what is tidied.
        blobs: the originals of its documents.
        indexes: the indexes of this process, which still may need changes.
        reindexing: keeps indexes beside those in use.
    """

    def __init__(self, database: Database, blobs: BlobStore, indexes: IndexSet, reindexing: Reindexing) -> None:
        self._database = database
        self._blobs = blobs
        self._indexes = indexes
        self._reindexing = reindexing
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin the rounds, in a thread, until `stop`."""
        assert self._thread is None, "it was started already"
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the rounds after the step in hand."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def round(self) -> TidiedUp:
        """Do one round now.

        Vectors stay while documents are being ingested, as their passages may be about to be committed.
        """
        self._reindexing.tidy()
        changes = self._indexes.prune_changes()
        vectors = blobs = 0
        while not self._stopping.is_set() and not self._ingesting():
            deleted = embeddings.collect_garbage(self._database, limit=_VECTORS_AT_ONCE)
            vectors += deleted
            if deleted < _VECTORS_AT_ONCE:
                break
        self._database.empty_log()
        # Last, since a store that is away ends the round.
        while not self._stopping.is_set():
            deleted = originals.collect_garbage(self._database, self._blobs, limit=_BLOBS_AT_ONCE)
            blobs += deleted
            if deleted < _BLOBS_AT_ONCE:
                break
        if not self._ingesting():
            self._reindexing.follow(self._check)
        return TidiedUp(changes, vectors, blobs)

    def _check(self) -> None:
        if self._stopping.is_set():
            raise Cancelled("Keepstone is stopping")

    def _ingesting(self) -> bool:
        query = sa.select(DocumentRow.id).where(DocumentRow.state.in_(UNFINISHED)).limit(1)
        with self._database.reading() as session:
            return session.scalar(query) is not None

    def _run(self) -> None:
        pause = _FIRST_AFTER_S
        while not self._stopping.wait(pause):
            pause = _EVERY_S
            try:
                tidied = self.round()
            except Cancelled:
                break
            except Exception:
                # The thread must outlive a database that is away or a disk that is full.
                log.exception("upkeep_failed", retry_s=pause)
            else:
                log.info("upkeep_done", changes=tidied.changes, vectors=tidied.vectors, blobs=tidied.blobs)

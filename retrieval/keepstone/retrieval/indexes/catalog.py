"""All indexes of this process: opened when first needed, kept up with the database by a thread, saved now and then.

with IndexSet(database, home / "indexes", encoder) as indexes:
    indexes.start()
    indexes.get(collection_id).vectors.search(...)

The folder belongs to one process at a time.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa
import structlog

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChangeRow, CollectionRow
from keepstone.platform.locks import exclusive_lock
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.indexes.collection import CollectionIndex, IndexReport

# A snapshot is due after so many changes and chunks, or so long after the last one; large indexes take longer to write.
_SAVE_AFTER_CHANGES = 20_000
_SAVE_AFTER_S = 60.0
_SAVE_AFTER_S_PER_CHUNK = 0.001
_PRUNED_AT_ONCE = 10_000

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Open:
    """An open index and when it was saved."""

    index: CollectionIndex
    unsaved: int = 0
    saved_at: float = field(default_factory=time.monotonic)
    settled: int = -1
    """Number of the change up to which it was durable when changes were last pruned, or when it was opened."""


class IndexSet:
    """The indexes of all collections under one encoder.

    Args:
        database: what they are derived from.
        folder: where they are kept; can be deleted whenever no process uses it.
        encoder: only its version and dimension are used.
        ef_search: breadth of the vector search.
        poll_s: how often the thread asks the database for changes.

    Raises:
        Conflict: another process uses the folder.
    """

    def __init__(
        self, database: Database, folder: Path, encoder: Encoder, *, ef_search: int = 128, poll_s: float = 1.0
    ) -> None:
        self._database, self._folder, self._encoder = database, folder, encoder
        self._ef_search, self._poll_s = ef_search, poll_s
        self._open: dict[str, _Open] = {}
        self._opening = threading.RLock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen = -1
        self._held = ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(
            exclusive_lock(
                folder / ".lock",
                f"The search indexes in {folder} are in use",
                fix="Use the running Keepstone, or end it first: `keepstone down`",
            )
        )

    def __enter__(self) -> IndexSet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, collection_id: str) -> CollectionIndex:
        """Return the index of a collection, as far as it is; opens it when needed."""
        return self._get(collection_id).index

    def catch_up(self, collection_id: str) -> int:
        """Bring one index up to the database; return how many changes and chunks that took."""
        entry = self._get(collection_id)
        applied = entry.index.catch_up(self._database)
        entry.unsaved += applied
        return applied

    def catch_up_all(self) -> int:
        """Bring the indexes of all collections up to the database, and drop those of collections that are gone."""
        applied = 0
        for collection_id in self._drop_deleted():
            applied += self.catch_up(collection_id)
        return applied

    def start(self) -> None:
        """Keep the indexes up with the database in a thread, until `stop` or `close`."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="indexes", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            self._wake.set()
            thread.join()

    def notify(self, collection_id: str | None = None) -> None:
        """Tell the thread that there is something new, so that it does not wait for the next round."""
        del collection_id
        self._wake.set()

    def save(self) -> None:
        """Write snapshots of all indexes that changed."""
        for entry in list(self._open.values()):
            self._save(entry)

    def close(self) -> None:
        """End the thread, save, and let go of memory, files and the folder."""
        self.stop()
        try:
            self.save()
        finally:
            with self._opening:
                for entry in self._open.values():
                    entry.index.close()
                self._open.clear()
            self._held.close()

    def verify(self, collection_id: str) -> IndexReport:
        """Compare one index with the database."""
        return self.get(collection_id).verify(self._database)

    def verify_all(self) -> list[IndexReport]:
        """Compare the indexes of all collections with the database."""
        return [self.verify(collection_id) for collection_id in self._drop_deleted()]

    def memory(self) -> dict[str, int]:
        """Return the memory that each open index takes, in bytes, by collection."""
        return {collection_id: entry.index.memory_bytes for collection_id, entry in list(self._open.items())}

    def prune_changes(self) -> int:
        """Delete changes that the saved indexes no longer need; return how many went.

        A change goes only when it was saved at the call before this one, or when its index was opened: the indexes of
        other processes on the same database have that long to follow. One that is further behind, such as one put back
        from a backup, misses the change at which it stands, and is built anew.
        """
        pruned = 0
        for collection_id in self._drop_deleted():
            entry = self._get(collection_id)
            settled, entry.settled = entry.settled, entry.index.durable_seq
            # The change at which an index stands is always kept.
            superfluous = sa.select(ChangeRow.seq).where(
                ChangeRow.collection_id == collection_id, ChangeRow.seq < min(settled, entry.settled)
            )
            while deleted := self._delete_changes(superfluous.order_by(ChangeRow.seq).limit(_PRUNED_AT_ONCE)):
                pruned += deleted
        return pruned

    def _delete_changes(self, which: sa.Select[int]) -> int:
        with self._database.transaction() as session:
            deleted = session.execute(sa.delete(ChangeRow).where(ChangeRow.seq.in_(which.scalar_subquery())))
            return int(deleted.rowcount)  # type: ignore[attr-defined]

    def _get(self, collection_id: str) -> _Open:
        entry = self._open.get(collection_id)
        if entry is not None:
            return entry
        with self._opening:
            entry = self._open.get(collection_id)
            if entry is None:
                index = self._open_index(collection_id)
                entry = self._open[collection_id] = _Open(index, settled=index.durable_seq)
            return entry

    def _open_index(self, collection_id: str) -> CollectionIndex:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", collection_id):
            raise ValueError(f"not a collection id: {collection_id!r}")
        folder = self._folder / collection_id / _slug(self._encoder.version)
        return CollectionIndex.open(
            folder,
            collection_id,
            encoder_version=self._encoder.version,
            dimension=self._encoder.dimension,
            ef_search=self._ef_search,
        )

    def _drop_deleted(self) -> list[str]:
        """Drop the indexes of collections that are gone, and of former encoders; return the collections that exist."""
        # Folders first: one that is made after this line belongs to a collection that the query must not miss.
        folders = {path.name: path for path in self._folder.iterdir() if path.is_dir()}
        with self._database.reading() as session:
            existing = list(session.scalars(sa.select(CollectionRow.id).order_by(CollectionRow.id)))
        for collection_id in folders.keys() - set(existing):
            with self._opening:
                entry = self._open.pop(collection_id, None)
                if entry is not None:
                    entry.index.close()
                shutil.rmtree(folders[collection_id], ignore_errors=True)
            log.info("index_dropped", collection=collection_id)
        for collection_id in folders.keys() & set(existing):
            for path in folders[collection_id].iterdir():
                if path.name != _slug(self._encoder.version):
                    shutil.rmtree(path, ignore_errors=True)
        return existing

    def _run(self) -> None:
        delay = self._poll_s
        while not self._stopping.is_set():
            try:
                self._tick()
                delay = self._poll_s
            except Exception:
                # The thread must outlive a database that is away or a disk that is full.
                log.exception("indexes_not_updated", retry_s=delay)
                delay = min(delay * 2, 60.0)
            self._wake.wait(delay)
            self._wake.clear()

    def _tick(self) -> None:
        with self._database.reading() as session:
            newest = session.scalar(sa.select(sa.func.max(ChangeRow.seq))) or 0
            changed = set(
                session.scalars(sa.select(ChangeRow.collection_id).where(ChangeRow.seq > self._seen).distinct())
            )
        existing = self._drop_deleted()
        if self._seen < 0 or newest < self._seen:  # the first round, or a database that was put back
            changed = set(existing)
        for collection_id in existing:
            if self._stopping.is_set():
                return
            if collection_id in changed:
                self.catch_up(collection_id)
            entry = self._open.get(collection_id)
            if entry is not None and _save_is_due(entry):
                self._save(entry)
        self._seen = newest

    def _save(self, entry: _Open) -> None:
        unsaved = entry.unsaved
        entry.index.save()
        entry.unsaved -= unsaved
        entry.saved_at = time.monotonic()


def _save_is_due(entry: _Open) -> bool:
    patience_s = _SAVE_AFTER_S + _SAVE_AFTER_S_PER_CHUNK * entry.index.vectors.count
    waited_s = time.monotonic() - entry.saved_at
    return entry.unsaved >= _SAVE_AFTER_CHANGES or (entry.unsaved > 0 and waited_s > patience_s)


def _slug(version: str) -> str:
    """Return a folder name for an encoder version: readable, and different for different versions."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", version)[:40].strip(".-")
    return f"{readable}-{hashlib.sha256(version.encode()).hexdigest()[:8]}"

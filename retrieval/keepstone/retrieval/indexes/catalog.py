"""All indexes of this process: opened when first needed, kept up with the database by a thread, saved now and then.

with IndexSet(database, home / "indexes", encoders) as indexes:
    indexes.start()
    indexes.get(collection_id).vectors.search(...)

A collection has an index under the encoder that it is searched with, and may have others beside it (see `versions`).
Where they are kept is the settings' choice (see `backends`); a folder belongs to one process at a time.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa
import structlog

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChangeRow
from keepstone.platform.errors import Conflict, ModelMissing
from keepstone.platform.locks import exclusive_lock
from keepstone.platform.settings import IndexSettings
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes.backends import IndexKey, open_store
from keepstone.retrieval.indexes.base import EF_SEARCH
from keepstone.retrieval.indexes.collection import CollectionIndex, IndexReport
from keepstone.retrieval.indexes.versions import IndexVersions, index_versions

# A snapshot is due after so many changes and chunks, or so long after the last one; large indexes take longer to write.
_SAVE_AFTER_CHANGES = 20_000
_SAVE_AFTER_S = 60.0
_SAVE_AFTER_S_PER_CHUNK = 0.001
_PRUNED_AT_ONCE = 10_000
_EMBEDDED = IndexSettings()

log = structlog.get_logger(__name__)


_Key = tuple[str, str]
"""A collection's id and an encoder's version."""


@dataclass(slots=True)
class _Open:
    """An open index and when it was saved."""

    index: CollectionIndex
    unsaved: int = 0
    saved_at: float = field(default_factory=time.monotonic)
    settled: int = -1
    """Number of the change up to which it was durable when changes were last pruned, or when it was opened."""


class IndexSet:
    """The indexes of all collections.

    Args:
        database: what they are derived from.
        folder: where those in files are kept; can be deleted whenever no process uses it.
        encoders: only their versions and dimensions are used.
        settings: where vectors and words are kept.
        ef_search: breadth of the vector search.
        poll_s: how often the thread asks the database for changes.

    Raises:
        Conflict: another process uses the folder.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        encoders: Encoders,
        *,
        settings: IndexSettings = _EMBEDDED,
        ef_search: int = EF_SEARCH,
        poll_s: float = 1.0,
    ) -> None:
        self._database, self._encoders, self._poll_s = database, encoders, poll_s
        self._open: dict[_Key, _Open] = {}
        # The encoders under which this process searches: each collection moves to another once its index is complete.
        self._serving: dict[str, str] = {}
        self._followed: dict[str, IndexVersions] = {}
        self._opening = threading.RLock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen = -1
        self._store = open_store(settings, database, folder, ef_search=ef_search)
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

    def get(self, collection_id: str, version: str | None = None) -> CollectionIndex:
        """Return an index of a collection, as far as it is; opens it when needed.

        Args:
            collection_id: whose.
            version: the encoder's; None takes the index that the collection is searched with.

        Raises:
            Conflict: there is no complete index under this version.
            ModelMissing: the encoder is not installed any more.
        """
        if version is None:
            return self._get(collection_id, self._served(collection_id)).index
        if version != self._served(collection_id):
            with self._database.reading() as session:
                known = index_versions(session, collection_id).get(collection_id)
            if known is None or version not in known.kept_up:
                raise Conflict(
                    f"The collection has no complete index under {version!r}", fix="Build it first, or take another one"
                )
        return self._get(collection_id, version).index

    def catch_up(self, collection_id: str) -> int:
        """Bring the index that a collection is searched with up to the database; return how much that took.

        Where the collection has been switched to another encoder, searches use that one's index from then on.

        Returns:
            The number of changes and chunks.
        """
        with self._database.reading() as session:
            known = index_versions(session, collection_id).get(collection_id)
        if known is None or self._serving.get(collection_id) == known.live:
            return self._catch_up(collection_id, self._served(collection_id))
        applied = self.complete(collection_id, known.live)
        self._serving[collection_id] = known.live
        return applied

    def complete(self, collection_id: str, version: str) -> int:
        """Bring one index up to the database, with vectors that were made after their chunks; return how much it took.

        For an index beside the one in use, whose vectors nobody makes while documents come in.
        """
        applied = self._catch_up(collection_id, version)
        entry = self._get(collection_id, version)
        filled = entry.index.fill(self._database)
        if filled:
            # No change would bring them again after a kill.
            self._save(entry)
        return applied + filled

    def catch_up_all(self) -> int:
        """Bring all indexes up to the database, and drop those that nobody wants any more."""
        return sum(self._follow(collection_id, known) for collection_id, known in self._drop_unwanted().items())

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
                self._serving.clear()
            self._held.close()

    def verify(self, collection_id: str, version: str | None = None) -> IndexReport:
        """Compare one index with the database; by default the one that the collection is searched with."""
        return self.get(collection_id, version).verify(self._database)

    def verify_all(self) -> list[IndexReport]:
        """Compare the indexes that the collections are searched with with the database."""
        return [self.verify(collection_id) for collection_id in self._drop_unwanted()]

    def memory(self) -> dict[str, int]:
        """Return the memory that the open indexes of each collection take, in bytes."""
        total: dict[str, int] = {}
        for (collection_id, _), entry in list(self._open.items()):
            total[collection_id] = total.get(collection_id, 0) + entry.index.memory_bytes
        return total

    def prune_changes(self) -> int:
        """Delete changes that the saved indexes no longer need; return how many went.

        A change goes only when it was saved at the call before this one, or when its index was opened: the indexes of
        other processes on the same database have that long to follow. One that is further behind, such as one put back
        from a backup, misses the change at which it stands, and is built anew.
        """
        pruned = 0
        for collection_id, known in self._drop_unwanted().items():
            needed: list[int] = []
            for entry in self._entries(collection_id, known):
                needed += [entry.settled, entry.index.durable_seq]
                entry.settled = entry.index.durable_seq
            # The change at which an index stands is always kept.
            superfluous = sa.select(ChangeRow.seq).where(
                ChangeRow.collection_id == collection_id, ChangeRow.seq < min(needed, default=-1)
            )
            while deleted := self._delete_changes(superfluous.order_by(ChangeRow.seq).limit(_PRUNED_AT_ONCE)):
                pruned += deleted
        return pruned

    def save_one(self, collection_id: str, version: str) -> None:
        """Write a snapshot of one index."""
        self._save(self._get(collection_id, version))

    def drop(self, collection_id: str, version: str) -> None:
        """Close an index and delete what is kept of it; whoever is searching in it finds nothing more."""
        with self._opening:
            entry = self._open.pop((collection_id, version), None)
            if entry is not None:
                entry.index.close()
            self._store.drop(IndexKey.of(collection_id, version))
        log.info("index_dropped", collection=collection_id, encoder=version)

    def _delete_changes(self, which: sa.Select[int]) -> int:
        with self._database.transaction() as session:
            deleted = session.execute(sa.delete(ChangeRow).where(ChangeRow.seq.in_(which.scalar_subquery())))
            return int(deleted.rowcount)  # type: ignore[attr-defined]

    def _served(self, collection_id: str) -> str:
        """Return the encoder under which this process searches a collection; one that is unknown has the default."""
        found = self._serving.get(collection_id)
        if found is not None:
            return found
        with self._database.reading() as session:
            known = index_versions(session, collection_id).get(collection_id)
        if known is None:
            return self._encoders.default.version
        return self._serving.setdefault(collection_id, known.live)

    def _catch_up(self, collection_id: str, version: str) -> int:
        entry = self._get(collection_id, version)
        applied = entry.index.catch_up(self._database)
        entry.unsaved += applied
        return applied

    def _follow(self, collection_id: str, known: IndexVersions) -> int:
        """Bring all complete indexes of a collection up to the database; those whose encoder is gone are left."""
        applied = 0
        for version in known.kept_up:
            try:
                applied += (
                    self.catch_up(collection_id) if version == known.live else self._catch_up(collection_id, version)
                )
            except ModelMissing as error:
                log.warning("index_left", collection=collection_id, encoder=version, reason=error.message)
        return applied

    def _entries(self, collection_id: str, known: IndexVersions) -> list[_Open]:
        """Return the indexes that changes are kept for: all but those whose encoder is gone."""
        found: list[_Open] = []
        for version in dict.fromkeys((self._served(collection_id), *known.all)):
            if version in known.building and (collection_id, version) not in self._open:
                continue
            try:
                found.append(self._get(collection_id, version))
            except ModelMissing:
                continue
        return found

    def _get(self, collection_id: str, version: str) -> _Open:
        entry = self._open.get((collection_id, version))
        if entry is not None:
            return entry
        with self._opening:
            entry = self._open.get((collection_id, version))
            if entry is None:
                index = self._store.open(collection_id, version, self._encoders.get(version).dimension)
                entry = self._open[collection_id, version] = _Open(index, settled=index.durable_seq)
            return entry

    def _drop_unwanted(self) -> dict[str, IndexVersions]:
        """Drop the indexes of collections that are gone, and of former encoders; return what the others have."""
        # What is kept first: an index that is made after this line is one that the query must not miss.
        kept = self._store.kept()
        opened = list(self._open)
        with self._database.reading() as session:
            existing = index_versions(session)
        wanted: set[IndexKey] = set()
        for collection_id, known in existing.items():
            # What this process still searches stays until it has moved on.
            versions = {*known.all, self._serving.get(collection_id, known.live)}
            wanted |= {IndexKey.of(collection_id, version) for version in versions}
        for collection_id, version in opened:
            if IndexKey.of(collection_id, version) not in wanted:
                if collection_id not in existing:
                    self._serving.pop(collection_id, None)
                self.drop(collection_id, version)
        for key in kept - wanted:
            self._store.drop(key)
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
        existing = self._drop_unwanted()
        if self._seen < 0 or newest < self._seen:  # the first round, or a database that was put back
            changed = set(existing)
        for collection_id, known in existing.items():
            if self._stopping.is_set():
                return
            if collection_id in changed or self._followed.get(collection_id) != known:
                self._follow(collection_id, known)
                self._followed[collection_id] = known
            for version in known.kept_up:
                entry = self._open.get((collection_id, version))
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

"""Vectors in memory: hierarchical navigable small worlds (Malkov and Yashunin, 2016) by hnswlib.

The nodes of the graph are called by their rows in a table. A row that was removed is not given to another vector:
hnswlib would move its node, and may leave others without a path to them. Where there are many such rows, graph and
table are made anew.

The graph lives in memory; `save` writes a snapshot, two files, beside a JSON file that names them. The JSON file is
replaced last and in one step, so that a reader finds the old snapshot or the new one; a snapshot that is torn, or of
another encoder, counts as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
import structlog
from numpy.typing import NDArray

from keepstone.platform.errors import StorageFull, storage_errors
from keepstone.retrieval.indexes.base import EF_SEARCH, EMPTY_RANKING, UNBUILT, Position, Ranking
from keepstone.retrieval.indexes.files import fsync_path, write_atomically
from keepstone.retrieval.indexes.rwlock import ReadWriteLock
from keepstone.retrieval.indexes.vector_table import VectorTable

M = 16
"""Links of a node on each layer; twice as many on the lowest."""
EF_CONSTRUCTION = 100
"""Candidates looked at for each new node's links."""

_FORMAT = 3
_SIDECAR = "vectors.json"
_FIRST_CAPACITY = 1024
# Vectors added under one hold of the lock: some milliseconds, for which searches wait.
_ADD_ROWS = 64
_ADD_THREADS = min(4, os.cpu_count() or 1)
# Up to so many allowed ids are compared one by one, which is exact and faster than a walk through the graph.
_SCAN_ALLOWED = 4000
# A small collection is always compared one by one, for no graph promises to find all.
_SCAN_ALL = 1000
# Vectors taken out of the graph at once, while no Python code can run.
_MOVED_ROWS = 256
# Deleted nodes stay in the graph as stepping stones until there are too many of them.
_MIN_DELETED_TO_COMPACT = 1000

log = structlog.get_logger(__name__)


class HnswIndex:
    """The vectors of one collection.

    Args:
        folder: where the snapshot is; made when missing.
        dimension: length of the vectors.
        encoder: version of the encoder; a snapshot of another one is not used.
        ef_search: candidates looked at in a search: more finds more of the true neighbours and takes longer.
    """

    def __init__(self, folder: Path, *, dimension: int, encoder: str, ef_search: int = EF_SEARCH) -> None:
        self._folder = folder
        self._dimension, self._encoder, self._ef_search = dimension, encoder, ef_search
        self._lock = ReadWriteLock()
        folder.mkdir(parents=True, exist_ok=True)
        self._graph = self._new_graph(_FIRST_CAPACITY)
        self._table = VectorTable(dimension)
        self._position = self._durable = UNBUILT
        self._unsaved = False
        self._load()

    @property
    def position(self) -> Position:
        """How far it is in the change sequence."""
        return self._position

    @property
    def durable_position(self) -> Position:
        """How far the snapshot is."""
        return self._durable

    @property
    def count(self) -> int:
        """Number of vectors."""
        return len(self._table)

    @property
    def memory_bytes(self) -> int:
        """Graph and table."""
        per_node = self._dimension * 4 + M * 2 * 4 + 16
        return int(self._graph.get_max_elements()) * per_node + self._table.memory_bytes

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, ascending."""
        with self._lock.reading():
            return self._table.ids()

    def apply(self, removed: Sequence[int], added: Mapping[int, NDArray[np.float32]], position: Position) -> None:
        """Remove and add vectors; removing what is not there and adding what is changes nothing."""
        with self._lock.writing():
            for each in removed:
                self._remove(each)
        self._compact_if_needed()
        new = [each for each in added if each not in self._table]
        for start in range(0, len(new), _ADD_ROWS):
            some = new[start : start + _ADD_ROWS]
            vectors = np.stack([added[each] for each in some])
            with self._lock.writing():
                self._add(some, vectors)
        with self._lock.writing():
            self._unsaved = self._unsaved or bool(removed or new) or position != self._durable
            self._position = position

    def search(
        self, vector: NDArray[np.float32], k: int, *, allowed: Sequence[int] | None = None, exact: bool = False
    ) -> Ranking:
        """Return the `k` vectors of highest inner product among the allowed ones."""
        with self._lock.reading():
            chosen = None if allowed is None else {each for each in allowed if each in self._table}
            few = len(self._table) <= _SCAN_ALL if chosen is None else len(chosen) <= _SCAN_ALLOWED
            if exact or few:
                return self._scan(vector, k, chosen)
            return self._walk(vector, k, chosen)

    def scores(self, vector: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the inner product with each of these vectors, NaN for those that are not here."""
        with self._lock.reading():
            return self._table.scores(vector, ids)

    def vectors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return each of these vectors in half precision's accuracy, NaN for those that are not here."""
        with self._lock.reading():
            return self._table.vectors(ids)

    def clear(self) -> None:
        """Forget all vectors, and the snapshot."""
        with self._lock.writing():
            (self._folder / _SIDECAR).unlink(missing_ok=True)
            self._graph, self._table = self._new_graph(_FIRST_CAPACITY), VectorTable(self._dimension)
            self._position = self._durable = UNBUILT
            self._unsaved = False
        self._remove_snapshots(keep="")

    def save(self) -> None:
        """Write the snapshot."""
        with self._lock.reading():
            position = self._position
            if not self._unsaved:
                return
            name = f"vectors-{position.seq}-{secrets.token_hex(4)}"
            graph, table = self._folder / f"{name}.hnsw", self._folder / f"{name}.npy"
            try:
                with storage_errors("writing the vector index"):
                    self._write_graph(graph)
                    self._table.save(table)
                    fsync_path(table)
                    sidecar = {
                        "format": _FORMAT,
                        "files": {path.name: _sha256(path) for path in (graph, table)},
                        "encoder": self._encoder,
                        "dimension": self._dimension,
                        "nodes": self._graph.get_current_count(),
                        "position": asdict(position),
                    }
                    write_atomically(self._folder / _SIDECAR, json.dumps(sidecar).encode())
            except BaseException:
                graph.unlink(missing_ok=True)
                table.unlink(missing_ok=True)
                raise
            self._durable, self._unsaved = position, False
        self._remove_snapshots(keep=name)

    def close(self) -> None:
        """Let go of the memory."""
        with self._lock.writing():
            self._graph, self._table = self._new_graph(1), VectorTable(self._dimension)

    def _walk(self, vector: NDArray[np.float32], k: int, chosen: set[int] | None) -> Ranking:
        k = min(k, len(self._table) if chosen is None else len(chosen))
        if k <= 0:
            return EMPTY_RANKING
        is_allowed = None if chosen is None else set(self._table.rows(chosen).tolist()).__contains__
        try:
            labels, distances = self._graph.knn_query(vector, k=k, num_threads=1, filter=is_allowed)
        except RuntimeError:
            # The walk met fewer than k live nodes, as may happen where many were deleted.
            return self._scan(vector, k, chosen)
        return _ranking(self._table.ids_of(labels[0].astype(np.int64)), 1.0 - distances[0].astype(np.float64), k)

    def _scan(self, vector: NDArray[np.float32], k: int, chosen: set[int] | None) -> Ranking:
        rows = self._table.nearest(vector, k, chosen) if k > 0 else np.empty(0, dtype=np.int64)
        if not len(rows):
            return EMPTY_RANKING
        # Unlike a product of matrix and vector, this gives equal vectors equal scores.
        scores = np.vecdot(np.asarray(self._graph.get_items(rows)), vector)
        return _ranking(self._table.ids_of(rows), scores.astype(np.float64), k)

    def _add(self, ids: list[int], vectors: NDArray[np.float32]) -> None:
        graph = self._graph
        needed = graph.get_current_count() + len(ids)
        if needed > graph.get_max_elements():
            graph.resize_index(max(needed, 2 * graph.get_max_elements()))
        rows = self._table.put(ids, vectors)
        graph.add_items(vectors, np.arange(rows.start, rows.stop), num_threads=_ADD_THREADS)

    def _remove(self, each: int) -> None:
        if each in self._table:
            self._graph.mark_deleted(self._table.remove(each))

    @property
    def _deleted_count(self) -> int:
        return self._table.used - len(self._table)

    def _compact_if_needed(self) -> None:
        """Build graph and table anew without the deleted nodes, once they are half: they cost memory and time."""
        if self._deleted_count < max(_MIN_DELETED_TO_COMPACT, len(self._table)):
            return
        with self._lock.reading():
            ids = self._table.ids()
            graph, table = self._new_graph(max(_FIRST_CAPACITY, len(ids))), VectorTable(self._dimension)
            for start in range(0, len(ids), _MOVED_ROWS):
                some = ids[start : start + _MOVED_ROWS].tolist()
                vectors = np.asarray(self._graph.get_items(self._table.rows(some)))
                rows = table.put(some, vectors)
                graph.add_items(vectors, np.arange(rows.start, rows.stop), num_threads=_ADD_THREADS)
        # Only `apply` changes the graph, and this runs inside it, so nothing happened between the two locks.
        with self._lock.writing():
            self._graph, self._table = graph, table

    def _new_graph(self, capacity: int) -> Any:
        graph = hnswlib.Index(space="ip", dim=self._dimension)
        graph.init_index(max_elements=capacity, M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
        graph.set_ef(self._ef_search)
        return graph

    def _write_graph(self, path: Path) -> None:
        self._graph.save_index(str(path))
        # hnswlib does not notice a full disk.
        if path.stat().st_size != self._graph.index_file_size():
            raise StorageFull("No space left on the disk while writing the vector index", fix="Free some space")
        fsync_path(path)

    def _load(self) -> None:
        try:
            sidecar = json.loads((self._folder / _SIDECAR).read_bytes())
            if (sidecar["format"], sidecar["encoder"], sidecar["dimension"]) != (
                _FORMAT,
                self._encoder,
                self._dimension,
            ):
                raise ValueError("made by another encoder or version")  # noqa: TRY301
            paths = [self._folder / Path(name).name for name in sidecar["files"]]
            if [_sha256(path) for path in paths] != list(sidecar["files"].values()):
                raise ValueError("damaged")  # noqa: TRY301
            graph = hnswlib.Index(space="ip", dim=self._dimension)
            capacity = max(_FIRST_CAPACITY, int(sidecar["nodes"]) * 5 // 4)
            graph.load_index(str(paths[0]), max_elements=capacity)
            graph.set_ef(self._ef_search)
            table = VectorTable.load(paths[1], self._dimension)
            position = Position(**sidecar["position"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            log.warning("vector_snapshot_ignored", folder=str(self._folder), reason=str(error))
            return
        self._graph, self._table = graph, table
        self._position = self._durable = position

    def _remove_snapshots(self, keep: str) -> None:
        for path in self._folder.glob("vectors-*"):
            if path.stem != keep:
                with suppress(OSError):
                    path.unlink()


def _ranking(ids: NDArray[np.int64], scores: NDArray[np.float64], k: int) -> Ranking:
    order = np.lexsort((ids, -scores))[:k]
    return Ranking(ids[order], scores[order])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

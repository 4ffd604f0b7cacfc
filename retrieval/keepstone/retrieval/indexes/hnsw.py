"""Vectors in memory: hierarchical navigable small worlds (Malkov and Yashunin, 2016) by hnswlib.

The nodes of the graph are called by their rows in a table. A row that was removed is not given to another vector:
hnswlib would move its node, and may leave others without a path to them. Where there are many such rows, graph and
table are made anew.

The graph lives in memory; `save` writes a snapshot, files beside a JSON file that names them. The JSON file is replaced
last and in one step, so that a reader finds the old snapshot or the new one; a snapshot that is torn, or of another
encoder, counts as none.
"""

from __future__ import annotations

import hashlib
import json
import math
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

_FORMAT = 4
_SIDECAR = "vectors.json"
# What hnswlib keeps of a node besides: its name and level, upper links, a lock, and its place in the table of names.
_NODE_BYTES = 114
_FIRST_CAPACITY = 1024
# Vectors added under one hold of the lock: some milliseconds, for which searches wait.
_ADD_ROWS = 64
_ADD_THREADS = min(4, os.cpu_count() or 1)
# So many vectors are compared one by one: exactly, which no graph promises, and about as fast as a walk through it.
_COMPARE = 4000
# So many allowed ones are looked through by their codes, faster than a walk that asks for each node whether it is one.
_LOOK_THROUGH = 50_000
# Vectors put into a new graph at once.
_MOVED_ROWS = 1024
# Deleted nodes stay in the graph as stepping stones until there are too many of them.
_MIN_DELETED_TO_COMPACT = 1000

log = structlog.get_logger(__name__)


def breadth(ef_search: int, count: int) -> int:
    """Return how many candidates to look at among so many vectors: more than `ef_search` where there are over 50,000.

    At a fixed breadth recall falls as a graph grows: at 192 recall@10 is .99 with 100,000 vectors, .98 with a million.
    """
    return round(ef_search * math.pow(max(1.0, count / 50_000), 0.25))


class HnswIndex:
    """The vectors of one collection.

    Args:
        folder: where the snapshot is; made when missing.
        dimension: length of the vectors.
        encoder: version of the encoder; a snapshot of another one is not used.
        ef_search: candidates looked at in a search, see `breadth`: more finds more of the true neighbours and takes
            longer.
    """

    def __init__(self, folder: Path, *, dimension: int, encoder: str, ef_search: int = EF_SEARCH) -> None:
        self._folder = folder
        self._dimension, self._encoder, self._ef_search = dimension, encoder, ef_search
        self._lock = ReadWriteLock()
        folder.mkdir(parents=True, exist_ok=True)
        self._graph, self._table = self._new_graph(_FIRST_CAPACITY), self._new_table()
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
        per_node = self._dimension * 4 + M * 2 * 4 + _NODE_BYTES
        return int(self._graph.get_max_elements()) * per_node + self._table.memory_bytes

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, ascending."""
        with self._lock.reading():
            return self._table.ids()

    def apply(self, removed: Sequence[int], added: Mapping[int, NDArray[np.float32]], position: Position) -> None:
        """Remove and add vectors; removing what is not there and adding what is changes nothing."""
        gone = self._table.rows(_ascending(np.asarray(removed, dtype=np.int64)))
        gone = gone[gone >= 0]
        with self._lock.writing():
            for row in gone.tolist():
                self._graph.mark_deleted(row)
            self._table.remove(gone)
        self._compact_if_needed()
        ids = np.fromiter(added, dtype=np.int64, count=len(added))
        new = ids[self._table.rows(ids) < 0].tolist()
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
            if k <= 0 or not len(self._table):
                return EMPTY_RANKING
            if allowed is None:
                return self._table.nearest(vector, k) if exact or self._is_small else self._walk(vector, k)
            rows = self._table.rows(_ascending(np.asarray(allowed, dtype=np.int64)))
            rows = rows[rows >= 0]
            if exact or len(rows) <= _LOOK_THROUGH:
                return self._table.nearest_of(rows, vector, k, exact=exact or len(rows) <= _COMPARE)
            return self._walk(vector, k, rows)

    def scores(self, vector: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the inner product with each of these vectors, NaN for those that are not here."""
        found: NDArray[np.float64] = np.vecdot(self.vectors(ids), vector).astype(np.float64)
        return found

    def vectors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return each of these vectors, NaN for those that are not here."""
        with self._lock.reading():
            return self._table.read(self._table.rows(np.asarray(ids, dtype=np.int64)))

    def clear(self) -> None:
        """Forget all vectors, and the snapshot."""
        with self._lock.writing():
            (self._folder / _SIDECAR).unlink(missing_ok=True)
            self._table.close()
            self._graph, self._table = self._new_graph(_FIRST_CAPACITY), self._new_table()
            self._position = self._durable = UNBUILT
            self._unsaved = False
        self._remove_files_but(set())

    def save(self) -> None:
        """Write the snapshot."""
        with self._lock.reading():
            position = self._position
            if not self._unsaved:
                return
            name = f"vectors-{position.seq}-{secrets.token_hex(4)}"
            graph, ids = self._folder / f"{name}.hnsw", self._folder / f"{name}.npy"
            try:
                with storage_errors("writing the vector index"):
                    self._write_graph(graph)
                    vectors_sha256 = self._table.save(ids)
                    sidecar = {
                        "format": _FORMAT,
                        "files": {path.name: _sha256(path) for path in (graph, ids)},
                        "vectors": {self._table.path.name: vectors_sha256},
                        "encoder": self._encoder,
                        "dimension": self._dimension,
                        "rows": self._table.used,
                        "position": asdict(position),
                    }
                    write_atomically(self._folder / _SIDECAR, json.dumps(sidecar).encode())
            except BaseException:
                graph.unlink(missing_ok=True)
                ids.unlink(missing_ok=True)
                raise
            self._durable, self._unsaved = position, False
        self._remove_files_but({graph.name, ids.name})

    def close(self) -> None:
        """Let go of the memory."""
        with self._lock.writing():
            self._table.close()
            self._graph = self._new_graph(1)

    @property
    def _is_small(self) -> bool:
        return self._table.used <= _COMPARE

    def _walk(self, vector: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None = None) -> Ranking:
        """Find the nearest of all, or of some rows, by way of the graph."""
        is_allowed = None
        if rows is not None:
            mask = np.zeros(self._table.used, dtype=np.uint8)
            mask[rows] = 1
            is_allowed = mask.tobytes().__getitem__
        k = min(k, len(self._table) if rows is None else len(rows))
        try:
            found, distances = self._graph.knn_query(vector, k=k, num_threads=1, filter=is_allowed)
        except RuntimeError:
            # The walk met fewer than k live nodes, as may happen where many were deleted.
            return self._table.nearest_of(self._table.all_rows() if rows is None else rows, vector, k, exact=True)
        ids = self._table.ids_of(found[0])
        order = np.lexsort((ids, distances[0]))
        return Ranking(ids[order], np.subtract(1.0, distances[0], dtype=np.float64)[order])

    def _add(self, ids: list[int], vectors: NDArray[np.float32]) -> None:
        rows = self._table.append(ids, vectors)
        if self._table.used > self._graph.get_max_elements():
            self._graph.resize_index(max(self._table.used, self._graph.get_max_elements() * 3 // 2))
        self._graph.add_items(vectors, rows, num_threads=_ADD_THREADS)
        self._graph.set_ef(breadth(self._ef_search, self._table.used))

    def _compact_if_needed(self) -> None:
        """Build graph and table anew without the deleted nodes, once they are half: they cost memory and time."""
        if self._table.used - len(self._table) < max(_MIN_DELETED_TO_COMPACT, len(self._table)):
            return
        with self._lock.reading():
            rows = self._table.rows(self._table.ids())
            graph, table = self._new_graph(max(_FIRST_CAPACITY, len(rows))), self._new_table()
            for start in range(0, len(rows), _MOVED_ROWS):
                some = rows[start : start + _MOVED_ROWS]
                vectors = self._table.read(some)
                moved = table.append(self._table.ids_of(some).tolist(), vectors)
                graph.add_items(vectors, moved, num_threads=_ADD_THREADS)
            graph.set_ef(breadth(self._ef_search, table.used))
        # Only `apply` changes the graph, and this runs inside it, so nothing happened between the two locks.
        with self._lock.writing():
            self._table.close()
            self._graph, self._table = graph, table

    def _new_table(self) -> VectorTable:
        return VectorTable(self._folder / f"vectors-{secrets.token_hex(8)}.f32", self._dimension)

    def _new_graph(self, capacity: int) -> Any:
        graph = hnswlib.Index(space="ip", dim=self._dimension)
        graph.init_index(max_elements=capacity, M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
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
            graph_path, ids_path = (self._folder / Path(name).name for name in sidecar["files"])
            if [_sha256(path) for path in (graph_path, ids_path)] != list(sidecar["files"].values()):
                raise ValueError("damaged")  # noqa: TRY301
            [(vectors_name, vectors_sha256)] = sidecar["vectors"].items()
            position = Position(**sidecar["position"])
            graph = hnswlib.Index(space="ip", dim=self._dimension)
            graph.load_index(str(graph_path), max_elements=max(_FIRST_CAPACITY, int(sidecar["rows"]) * 5 // 4))
            graph.set_ef(breadth(self._ef_search, int(sidecar["rows"])))
            table = VectorTable.load(ids_path, self._folder / Path(vectors_name).name, self._dimension, vectors_sha256)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            log.warning("vector_snapshot_ignored", folder=str(self._folder), reason=str(error))
            return
        self._table.close()
        self._graph, self._table = graph, table
        self._position = self._durable = position
        self._remove_files_but({graph_path.name, ids_path.name})

    def _remove_files_but(self, names: set[str]) -> None:
        for path in self._folder.glob("vectors-*"):
            if path.name not in names | {self._table.path.name}:
                with suppress(OSError):
                    path.unlink()


def _ascending(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ids in order, each once; most callers have them so, and looking is quicker than sorting."""
    return ids if (ids[1:] > ids[:-1]).all() else np.unique(ids)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Vectors by row: in full in a file, and in memory whose they are and a bit per number.

table = VectorTable(folder / "vectors-1.f32", dimension=384)
table.append([7, 9], vectors)
table.best(table.all_rows(), question, k=10)

A row that was removed is never given to another vector: who wants it back writes a new table. So a snapshot is true as
long as the file is, whatever was appended since; and the ids mostly ascend, and need no index of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keepstone.retrieval.indexes.base import EMPTY_RANKING, Ranking
from keepstone.retrieval.indexes.codes import BinaryCodes
from keepstone.retrieval.indexes.files import fsync_path
from keepstone.retrieval.indexes.vector_file import VectorFile

# Vectors read at once: some megabytes.
_BLOCK = 4096
_FIRST_CAPACITY = 1024


class VectorTable:
    """A table that only grows. Not safe for threads by itself.

    Args:
        path: the file of the vectors, made when missing.
        dimension: length of the vectors.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        self.path = path
        self._file = VectorFile(path, dimension)
        self._dimension = dimension
        self._codes = BinaryCodes(dimension)
        self._ids = np.empty(0, dtype=np.int64)
        self._live = np.empty(0, dtype=np.bool_)
        self._used = self._count = 0
        # Rows by ascending id, and the ids in that order; None while that is the order of the rows.
        self._order: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def used(self) -> int:
        """Rows that have or had a vector."""
        return self._used

    @property
    def memory_bytes(self) -> int:
        """Ids and codes; of the file the system keeps what it has room for."""
        order = sum(each.nbytes for each in self._order or ())
        return int(self._ids.nbytes + self._live.nbytes) + order + self._codes.memory_bytes

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, ascending."""
        return np.sort(self._ids[self.all_rows()])

    def ids_of(self, rows: NDArray[np.int64] | NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the ids of the vectors in some rows."""
        found: NDArray[np.int64] = self._ids[rows]
        return found

    def all_rows(self) -> NDArray[np.int64]:
        """Return the rows that have a vector, ascending."""
        return np.flatnonzero(self._live[: self._used])

    def rows(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each id, -1 where there is none."""
        if not self._used:
            return np.full(len(ids), -1, dtype=np.int64)
        by_id = self._ids[: self._used] if self._order is None else self._order[1]
        # Of an id that went and came back, the last row counts.
        at = np.maximum(np.searchsorted(by_id, ids, side="right") - 1, 0)
        rows = at if self._order is None else self._order[0][at]
        found: NDArray[np.int64] = np.where((by_id[at] == ids) & self._live[rows], rows, -1)
        return found

    def append(self, ids: Sequence[int], vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Add vectors, shape (n, d), under ids that are not in the table; return their rows.

        Raises:
            StorageFull: no room in the file; nothing was added.
        """
        first, last = self._used, self._used + len(ids)
        rows = np.arange(first, last)
        self._file.write(rows, vectors)
        self._make_room(last)
        self._codes.put(rows, vectors)
        self._ids[first:last] = ids
        self._live[first:last] = True
        self._used, self._count = last, self._count + len(ids)
        self._set_order(first)
        return rows

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Forget the vectors of some rows that have one."""
        self._live[rows] = False
        self._count -= len(rows)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of some rows, shape (n, d), NaN where the row is -1."""
        found = np.full((len(rows), self._dimension), np.nan, dtype=np.float32)
        found[rows >= 0] = self._file.read(rows[rows >= 0])
        return found

    def nearest(self, vector: NDArray[np.float32], k: int) -> Ranking:
        """Return the `k` vectors of highest inner product of all."""
        parts = [
            np.vecdot(self._file.read(slice(start, min(start + _BLOCK, self._used))), vector)
            for start in range(0, self._used, _BLOCK)
        ]
        rows = self.all_rows()
        return self._ranking(rows, np.concatenate(parts)[rows], k) if len(rows) else EMPTY_RANKING

    def nearest_of(self, rows: NDArray[np.int64], vector: NDArray[np.float32], k: int, *, exact: bool) -> Ranking:
        """Return the `k` vectors of highest inner product of some rows; unless `exact`, most of them."""
        if not len(rows):
            return EMPTY_RANKING
        spare = self._codes.spare(k, len(rows))
        if not exact and spare < len(rows):
            rows = rows[np.argpartition(-self._codes.likeness(rows, vector), spare - 1)[:spare]]
        # Unlike a product of matrix and vector, `vecdot` gives equal vectors equal scores.
        parts = [np.vecdot(self._file.read(rows[at : at + _BLOCK]), vector) for at in range(0, len(rows), _BLOCK)]
        return self._ranking(rows, np.concatenate(parts), k)

    def save(self, path: Path) -> str:
        """Force the vectors onto the disk, write ids by row and which of them are there; return the vectors' hash."""
        self._file.sync()
        with path.open("xb") as file:
            np.save(file, self._ids[: self._used], allow_pickle=False)
            np.save(file, self._live[: self._used], allow_pickle=False)
        fsync_path(path)
        hashed = hashlib.sha256()
        for start in range(0, self._used, _BLOCK):
            hashed.update(self._file.read(slice(start, min(start + _BLOCK, self._used))).data)
        return hashed.hexdigest()

    @classmethod
    def load(cls, path: Path, vectors: Path, dimension: int, sha256: str) -> VectorTable:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: one of the files is gone.
            ValueError: they have another form, or other vectors.
        """
        with path.open("rb") as file:
            ids, live = np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)
        if (ids.dtype, live.dtype) != (np.int64, np.bool_) or ids.shape != live.shape or ids.ndim != 1:
            raise ValueError("the table of vectors has another form")
        if not vectors.exists():
            raise FileNotFoundError(vectors)
        table = cls(vectors, dimension)
        try:
            table._fill(ids, live, sha256)
        except ValueError:
            table.close()
            raise
        return table

    def close(self) -> None:
        """Let go of file and memory; there is nothing in the table then."""
        self._file.close()
        self._ids, self._live, self._order = self._ids[:0], self._live[:0], None
        self._used = self._count = 0
        self._codes = BinaryCodes(self._dimension)

    def _ranking(self, rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Ranking:
        if k < len(rows):
            near = scores >= np.partition(scores, -k)[-k]
            rows, scores = rows[near], scores[near]
        ids = self._ids[rows]
        order = np.lexsort((ids, -scores))[:k]
        return Ranking(ids[order], scores[order].astype(np.float64))

    def _fill(self, ids: NDArray[np.int64], live: NDArray[np.bool_], sha256: str) -> None:
        """Take in what the file has, when it is what it was."""
        if len(self._file) < len(ids):
            raise ValueError("the vectors were cut off")
        self._make_room(len(ids))
        hashed = hashlib.sha256()
        for start in range(0, len(ids), _BLOCK):
            block = self._file.read(slice(start, min(start + _BLOCK, len(ids))))
            hashed.update(block.data)
            self._codes.put(np.arange(start, start + len(block)), block)
        if hashed.hexdigest() != sha256:
            raise ValueError("the vectors are damaged")
        self._ids[: len(ids)], self._live[: len(ids)] = ids, live
        self._used, self._count = len(ids), int(live.sum())
        self._set_order(0)

    def _set_order(self, first: int) -> None:
        """Prepare looking rows up by id, after ids were put into the rows from `first` on."""
        new = self._ids[max(0, first - 1) : self._used]
        if self._order is None and (np.diff(new) > 0).all():
            return
        order = np.argsort(self._ids[: self._used], kind="stable")
        self._order = order, self._ids[order]

    def _make_room(self, rows: int) -> None:
        if rows <= len(self._ids):
            return
        capacity = max(_FIRST_CAPACITY, rows, len(self._ids) * 3 // 2)
        ids, live = np.zeros(capacity, dtype=np.int64), np.zeros(capacity, dtype=np.bool_)
        ids[: self._used], live[: self._used] = self._ids[: self._used], self._live[: self._used]
        self._ids, self._live = ids, live
        self._codes.grow(capacity)

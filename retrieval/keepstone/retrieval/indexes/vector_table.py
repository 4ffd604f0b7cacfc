"""Vectors by chunk id in half precision, for comparing with chosen ones or with all.

hnswlib hands out single vectors, but slowly. Half precision errs by less than 0.0001 in the cosine of unit vectors, and
takes half as much memory again as the graph's own copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Rows converted to single precision at once: some megabytes.
_ROWS = 4096
_FIRST_CAPACITY = 1024
_FREE = -1
# Half precision keeps 11 bits of each number, which moves the inner product of unit vectors by no more than this.
_ERROR = 2.0**-11 + 1e-4


class VectorTable:
    """A table that grows; rows of removed vectors stay empty. Not safe for threads by itself.

    Args:
        dimension: length of the vectors.
    """

    def __init__(self, dimension: int) -> None:
        self._matrix = np.zeros((_FIRST_CAPACITY, dimension), dtype=np.float16)
        self._ids = np.full(_FIRST_CAPACITY, _FREE, dtype=np.int64)
        self._row_of: dict[int, int] = {}
        self._used = 0

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, chunk_id: int) -> bool:
        return chunk_id in self._row_of

    @property
    def memory_bytes(self) -> int:
        """Vectors and ids."""
        return int(self._matrix.nbytes + self._ids.nbytes) + 120 * len(self._row_of)

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, ascending."""
        return np.sort(self._ids[self._ids != _FREE])

    def put(self, ids: Sequence[int], vectors: NDArray[np.float32]) -> range:
        """Add vectors, shape (n, d), under ids that are not in the table; return their rows, never used before."""
        rows = range(self._used, self._used + len(ids))
        self._make_room(rows.stop)
        self._matrix[rows.start : rows.stop] = vectors
        self._ids[rows.start : rows.stop] = ids
        self._row_of.update(zip(ids, rows, strict=True))
        self._used = rows.stop
        return rows

    def remove(self, chunk_id: int) -> int:
        """Forget a vector that is in the table; return the row that it had."""
        row = self._row_of.pop(chunk_id)
        self._ids[row] = _FREE
        self._matrix[row] = 0
        return row

    def rows(self, ids: Iterable[int]) -> NDArray[np.int64]:
        """Return the rows of vectors that are in the table."""
        return np.array([self._row_of[each] for each in ids], dtype=np.int64)

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of the vectors in some rows."""
        found: NDArray[np.int64] = self._ids[rows]
        return found

    @property
    def used(self) -> int:
        """Rows that have or had a vector."""
        return self._used

    def scores(self, vector: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the inner product with each of these vectors, NaN for those that are not here."""
        found: NDArray[np.float64] = (self.vectors(ids) @ vector).astype(np.float64)
        return found

    def vectors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return each of these vectors, shape (n, d), NaN for those that are not here."""
        found = np.full((len(ids), self._matrix.shape[1]), np.nan, dtype=np.float32)
        known = [at for at, each in enumerate(ids) if each in self._row_of]
        found[known] = self._matrix[[self._row_of[ids[at]] for at in known]]
        return found

    def nearest(self, vector: NDArray[np.float32], k: int, among: Iterable[int] | None = None) -> NDArray[np.int64]:
        """Return rows with the `k` highest inner products with a unit vector, and all that rounding may have hidden."""
        rows: NDArray[np.int64] = np.flatnonzero(self._ids != _FREE) if among is None else self.rows(among)
        products = np.empty(len(rows), dtype=np.float32)
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            products[start : start + len(some)] = self._matrix[some].astype(np.float32) @ vector
        if k >= len(rows):
            return rows
        near: NDArray[np.int64] = rows[products >= np.partition(products, -k)[-k] - 2 * _ERROR]
        return near

    def save(self, path: Path) -> None:
        """Write ids and vectors by row as two NumPy arrays, one behind the other."""
        with path.open("xb") as file:
            np.save(file, self._ids[: self._used], allow_pickle=False)
            np.save(file, self._matrix[: self._used], allow_pickle=False)

    @classmethod
    def load(cls, path: Path, dimension: int) -> VectorTable:
        """Read what `save` wrote.

        Raises:
            ValueError: it is of another dimension, or no such file.
        """
        with path.open("rb") as file:
            ids = np.load(file, allow_pickle=False)
            matrix = np.load(file, allow_pickle=False)
        if ids.dtype != np.int64 or matrix.dtype != np.float16 or matrix.shape != (len(ids), dimension):
            raise ValueError("the table of vectors has another form")
        table = cls(dimension)
        table._make_room(len(ids))
        table._ids[: len(ids)] = ids
        table._matrix[: len(ids)] = matrix
        table._row_of = {each: row for row, each in enumerate(ids.tolist()) if each != _FREE}
        table._used = len(ids)
        return table

    def _make_room(self, rows: int) -> None:
        if rows <= len(self._ids):
            return
        capacity = max(rows, len(self._ids) * 3 // 2)
        matrix = np.zeros((capacity, self._matrix.shape[1]), dtype=np.float16)
        matrix[: len(self._matrix)] = self._matrix
        ids = np.full(capacity, _FREE, dtype=np.int64)
        ids[: len(self._ids)] = self._ids
        self._matrix, self._ids = matrix, ids

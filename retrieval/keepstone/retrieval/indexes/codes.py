"""Vectors made small, to look through all of them in little memory: one byte per number, or one bit.

codes = Int8Codes(384)
codes.put(rows, vectors)
codes.likeness(rows, question)

What they say of likeness is rough; the best are compared once again in full (Yamada et al., 2021, and the rescoring of
sentence-transformers).
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

# Rows converted to single precision at once: some megabytes.
_ROWS = 4096
_Number = TypeVar("_Number", bound=np.generic)


class Codes(Protocol):
    """Codes of vectors by row. Not safe for threads by themselves."""

    @property
    def memory_bytes(self) -> int:
        """Memory that they take."""

    def grow(self, rows: int) -> None:
        """Make room for so many rows; those that are there stay."""

    def put(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Encode vectors, shape (n, d), into some rows."""

    def likeness(self, rows: NDArray[np.int64], vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return for each of some rows a number that mostly rises with its inner product with a unit vector."""

    def spare(self, k: int, count: int) -> int:
        """Return how many of `count` must be compared in full so that hardly any of the `k` best is missed."""


class Int8Codes:
    """A byte per number, in steps of the vector's greatest number over 127: cosines are right to about 0.001.

    Args:
        dimension: length of the vectors.
    """

    def __init__(self, dimension: int) -> None:
        self._codes = np.zeros((0, dimension), dtype=np.int8)
        self._steps = np.zeros(0, dtype=np.float32)

    @property
    def memory_bytes(self) -> int:
        """Codes and their steps."""
        return int(self._codes.nbytes + self._steps.nbytes)

    def grow(self, rows: int) -> None:
        """Make room."""
        self._codes, self._steps = _grown(self._codes, rows), _grown(self._steps, rows)

    def put(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Encode vectors into some rows."""
        steps = np.maximum(np.abs(vectors).max(axis=1), np.float32(1e-12)) / np.float32(127)
        self._codes[rows] = np.rint(vectors / steps[:, None])
        self._steps[rows] = steps

    def likeness(self, rows: NDArray[np.int64], vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return approximate inner products."""
        products = np.empty(len(rows), dtype=np.float32)
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            products[start : start + len(some)] = self._codes[some].astype(np.float32) @ vector
        return products * self._steps[rows]

    def spare(self, k: int, count: int) -> int:
        """Return a few more than `k`: only what is nearly equal may be in the wrong order."""
        del count
        return 2 * k + 32


class BinaryCodes:
    """A bit per number, its sign: likeness is how many signs agree.

    Args:
        dimension: length of the vectors.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._codes = np.zeros((0, -(-dimension // 64)), dtype=np.uint64)

    @property
    def memory_bytes(self) -> int:
        """The bits."""
        return int(self._codes.nbytes)

    def grow(self, rows: int) -> None:
        """Make room."""
        self._codes = _grown(self._codes, rows)

    def put(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Encode vectors into some rows."""
        self._codes[rows] = self._signs(vectors)

    def likeness(self, rows: NDArray[np.int64], vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how many signs agree, less the dimension."""
        [asked] = self._signs(vector[None])
        differ = np.empty(len(rows), dtype=np.float32)
        # A product adds up short rows several times faster than `sum`.
        ones = np.ones(self._codes.shape[1], dtype=np.float32)
        for start in range(0, len(rows), _ROWS):
            some = self._codes.take(rows[start : start + _ROWS], axis=0)
            differ[start : start + len(some)] = np.bitwise_count(some ^ asked).astype(np.float32) @ ones
        return -differ

    def spare(self, k: int, count: int) -> int:
        """Return a hundredth of all, at least 1000: by 384 signs, 99.8 of 100 neighbours are among 800 of 13,000."""
        return max(1000, 40 * k, count // 100)

    def _signs(self, vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
        packed = np.packbits(vectors > 0, axis=1)
        padding = self._codes.shape[1] * 8 - packed.shape[1]
        bits: NDArray[np.uint64] = np.pad(packed, ((0, 0), (0, padding))).view(np.uint64)
        return bits


def _grown(table: NDArray[_Number], rows: int) -> NDArray[_Number]:
    grown = np.zeros((max(rows, len(table)), *table.shape[1:]), dtype=table.dtype)
    grown[: len(table)] = table
    return grown

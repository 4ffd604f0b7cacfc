"""Full vectors by row in a file: written in place, read through the system's page cache, which gives memory back."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keepstone.platform.errors import storage_errors

_NUMBER = np.dtype("<f4")


class VectorFile:
    """Vectors in single precision. One thread writes; any number reads rows that are not being written.

    Args:
        path: the file, made when missing; what it holds already can be read.
        dimension: length of the vectors.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        self._dimension = dimension
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._map = self._mapped()

    def __len__(self) -> int:
        return len(self._map)

    def write(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Put vectors, shape (n, d), into some rows.

        Raises:
            StorageFull: no room.
        """
        stride = self._dimension * _NUMBER.itemsize
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        with storage_errors("writing the vector index"):
            # Not through the mapping: a disk that is full would end the process.
            for some, part in zip(np.split(rows, breaks), np.split(vectors, breaks), strict=True):
                content = memoryview(np.ascontiguousarray(part, dtype=_NUMBER).tobytes())
                place = int(some[0]) * stride if len(some) else 0
                while content:
                    written = os.pwrite(self._descriptor, content, place)
                    content, place = content[written:], place + written
        if len(rows) and rows.max() >= len(self._map):
            self._map = self._mapped()

    def read(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Return some vectors, shape (n, d); of a slice no copy."""
        found: NDArray[np.float32] = self._map[rows]
        return found

    def sync(self) -> None:
        """Force what was written onto the disk."""
        with storage_errors("writing the vector index"):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of the file."""
        self._map = np.empty((0, self._dimension), dtype=_NUMBER)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _mapped(self) -> NDArray[np.float32]:
        rows = os.fstat(self._descriptor).st_size // (self._dimension * _NUMBER.itemsize)
        if not rows:
            return np.empty((0, self._dimension), dtype=_NUMBER)
        content = mmap.mmap(self._descriptor, rows * self._dimension * _NUMBER.itemsize, prot=mmap.PROT_READ)
        return np.frombuffer(content, dtype=_NUMBER).reshape(rows, self._dimension)

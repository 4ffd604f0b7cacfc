"""Vectors on the disk and their codes in memory: every search looks through all codes, and compares the best in full.

index = ScanIndex(folder, dimension=384, encoder=encoder.version, codes=BinaryCodes(384))

It takes a fraction of the memory of `HnswIndex` (a byte or a bit per number instead of six bytes and links)
and finds what is allowed at any selectivity, but its searches take longer the more vectors there are.

Vectors are written in place; `save` writes which row is whose. After a kill rows may hold later vectors than the
snapshot knows: only those of chunks that went since, which the changes that are then applied remove.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from keepstone.platform.errors import storage_errors
from keepstone.retrieval.indexes.base import EMPTY_RANKING, UNBUILT, Position, Ranking
from keepstone.retrieval.indexes.codes import Codes
from keepstone.retrieval.indexes.files import fsync_path, write_atomically
from keepstone.retrieval.indexes.rwlock import ReadWriteLock
from keepstone.retrieval.indexes.vector_file import VectorFile

_FORMAT = 1
_SIDECAR = "scan.json"
_VECTORS = "scan.f32"
_FREE = -1
# Vectors read or added under one hold of the lock, for which searches wait.
_BLOCK = 2048

log = structlog.get_logger(__name__)


class ScanIndex:
    """The vectors of one collection.

    Args:
        folder: where the files are; made when missing.
        dimension: length of the vectors.
        encoder: version of the encoder; a snapshot of another one is not used.
        codes: an empty table, which is filled from the files.
    """

    def __init__(self, folder: Path, *, dimension: int, encoder: str, codes: Codes) -> None:
        self._folder, self._dimension, self._encoder, self._codes = folder, dimension, encoder, codes
        self._lock = ReadWriteLock()
        folder.mkdir(parents=True, exist_ok=True)
        self._file = VectorFile(folder / _VECTORS, dimension)
        self._position = self._durable = UNBUILT
        self._unsaved = False
        self._ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._set_ids(self._ids)
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
        return len(self._sorted_ids)

    @property
    def memory_bytes(self) -> int:
        """Codes and ids; of the file the system keeps what it has room for."""
        return self._codes.memory_bytes + int(self._ids.nbytes + self._sorted_ids.nbytes + self._sorted_rows.nbytes)

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, ascending."""
        return self._sorted_ids.copy()

    def apply(self, removed: Sequence[int], added: Mapping[int, NDArray[np.float32]], position: Position) -> None:
        """Remove and add vectors; removing what is not there and adding what is changes nothing."""
        new = np.fromiter(added, dtype=np.int64, count=len(added))
        with self._lock.writing():
            gone = np.unique(self._rows(np.array(removed, dtype=np.int64)))
            self._ids[gone[gone >= 0]] = _FREE
            self._set_ids(self._ids)
            new = new[self._rows(new) < 0]
            self._unsaved = self._unsaved or bool(len(gone) or len(new)) or position != self._durable
        for start in range(0, len(new), _BLOCK):
            some = new[start : start + _BLOCK]
            vectors = np.stack([added[each] for each in some.tolist()])
            with self._lock.writing():
                self._add(some, vectors)
        with self._lock.writing():
            self._position = position

    def search(
        self, vector: NDArray[np.float32], k: int, *, allowed: Sequence[int] | None = None, exact: bool = False
    ) -> Ranking:
        """Return the `k` vectors of highest inner product among the allowed ones."""
        with self._lock.reading():
            rows = self._sorted_rows
            if allowed is not None:
                rows = self._rows(np.unique(np.array(allowed, dtype=np.int64)))
                rows = rows[rows >= 0]
            if k <= 0 or not len(rows):
                return EMPTY_RANKING
            candidates = min(len(rows), self._codes.spare(k, len(rows)))
            if not exact and candidates < len(rows):
                rows = rows[np.argpartition(-self._codes.likeness(rows, vector), candidates - 1)[:candidates]]
            # Unlike a product of matrix and vector, `vecdot` gives equal vectors equal scores.
            parts = [np.vecdot(self._file.read(rows[at : at + _BLOCK]), vector) for at in range(0, len(rows), _BLOCK)]
            scores = np.concatenate(parts).astype(np.float64)
            ids = self._ids[rows]
            order = np.lexsort((ids, -scores))[:k]
            return Ranking(ids[order], scores[order])

    def scores(self, vector: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the inner product with each of these vectors, NaN for those that are not here."""
        found: NDArray[np.float64] = (self.vectors(ids) @ vector).astype(np.float64)
        return found

    def vectors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return each of these vectors, NaN for those that are not here."""
        found = np.full((len(ids), self._dimension), np.nan, dtype=np.float32)
        with self._lock.reading():
            rows = self._rows(np.array(ids, dtype=np.int64))
            found[rows >= 0] = self._file.read(rows[rows >= 0])
        return found

    def clear(self) -> None:
        """Forget all vectors, and the snapshot."""
        with self._lock.writing():
            (self._folder / _SIDECAR).unlink(missing_ok=True)
            self._set_ids(np.full(len(self._ids), _FREE, dtype=np.int64))
            self._position = self._durable = UNBUILT
            self._unsaved = False
        self._remove_snapshots(keep="")

    def save(self) -> None:
        """Write the snapshot."""
        with self._lock.reading():
            position = self._position
            if not self._unsaved:
                return
            path = self._folder / f"scan-{position.seq}-{secrets.token_hex(4)}.npy"
            try:
                self._file.sync()
                with storage_errors("writing the vector index"), path.open("xb") as file:
                    np.save(file, self._ids, allow_pickle=False)
                fsync_path(path)
                sidecar = {
                    "format": _FORMAT,
                    "ids": path.name,
                    "encoder": self._encoder,
                    "dimension": self._dimension,
                    "position": asdict(position),
                }
                write_atomically(self._folder / _SIDECAR, json.dumps(sidecar).encode())
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            self._durable, self._unsaved = position, False
        self._remove_snapshots(keep=path.name)

    def close(self) -> None:
        """Let go of file and memory."""
        with self._lock.writing():
            self._set_ids(np.empty(0, dtype=np.int64))
            self._file.close()

    def _add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        free = np.flatnonzero(self._ids == _FREE)[: len(ids)]
        if len(free) < len(ids):
            capacity = max(len(self._ids) + len(ids) - len(free), len(self._ids) * 3 // 2)
            grown = np.full(capacity, _FREE, dtype=np.int64)
            grown[: len(self._ids)] = self._ids
            self._codes.grow(capacity)
            self._ids = grown
            free = np.flatnonzero(grown == _FREE)[: len(ids)]
        self._file.write(free, vectors)
        self._codes.put(free, vectors)
        self._ids[free] = ids
        self._set_ids(self._ids)

    def _set_ids(self, ids: NDArray[np.int64]) -> None:
        """Take ids by row, and prepare looking rows up by id."""
        rows = np.flatnonzero(ids != _FREE)
        order = np.argsort(ids[rows], kind="stable")
        self._ids, self._sorted_ids, self._sorted_rows = ids, ids[rows][order], rows[order]

    def _rows(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each id, -1 where there is none."""
        if not self.count:
            return np.full(len(ids), -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(self._sorted_ids, ids), self.count - 1)
        found: NDArray[np.int64] = np.where(self._sorted_ids[places] == ids, self._sorted_rows[places], -1)
        return found

    def _load(self) -> None:
        try:
            sidecar = json.loads((self._folder / _SIDECAR).read_bytes())
            made_by = (sidecar["format"], sidecar["encoder"], sidecar["dimension"])
            if made_by != (_FORMAT, self._encoder, self._dimension):
                raise ValueError("made by another encoder or version")  # noqa: TRY301
            ids = np.load(self._folder / Path(sidecar["ids"]).name, allow_pickle=False)
            if ids.dtype != np.int64 or ids.ndim != 1:
                raise ValueError("the ids have another form")  # noqa: TRY301
            self._fill(np.flatnonzero(ids != _FREE), len(ids))
            position = Position(**sidecar["position"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
            log.warning("vector_snapshot_ignored", folder=str(self._folder), reason=str(error))
            return
        self._set_ids(ids)
        self._position = self._durable = position

    def _fill(self, rows: NDArray[np.int64], capacity: int) -> None:
        """Encode the vectors of the file.

        Raises:
            ValueError: the file is too short, or holds what no unit vectors are.
        """
        if len(rows) and rows[-1] >= len(self._file):
            raise ValueError("the vectors were cut off")
        self._codes.grow(capacity)
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            vectors = self._file.read(some)
            if not ((vectors * vectors).sum(axis=1) < 1.01).all():
                raise ValueError("the vectors are damaged")
            self._codes.put(some, vectors)

    def _remove_snapshots(self, keep: str) -> None:
        for path in self._folder.glob("scan-*.npy"):
            if path.name != keep:
                with suppress(OSError):
                    path.unlink()

"""What both halves of an index on a Milvus server have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keepstone.retrieval.indexes.base import Position
from keepstone.retrieval.indexes.milvus_rows import MilvusRows


class MilvusIndex:
    """Half of an index, kept as the rows of a Milvus collection.

    Args:
        rows: of its collection.
    """

    def __init__(self, rows: MilvusRows) -> None:
        self._rows = rows

    @property
    def position(self) -> Position:
        """How far it is in the change sequence."""
        return self._rows.position

    @property
    def durable_position(self) -> Position:
        """The same: Milvus keeps what it has confirmed."""
        return self._rows.position

    @property
    def count(self) -> int:
        """Number of chunks."""
        return self._rows.count

    @property
    def memory_bytes(self) -> int:
        """Nothing in this process."""
        return 0

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, ascending."""
        return self._rows.ids()

    def refresh(self) -> None:
        """Look what other processes have done."""
        self._rows.refresh()

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()

    def save(self) -> None:
        """Do nothing: what Milvus has confirmed is durable."""

    def close(self) -> None:
        """Do nothing: the connection is every index's."""

"""What the indexes of one collection must do, wherever they keep their data.

Both halves hold chunks by id, are filled through `apply`, remember how far in the change sequence they are, and may be
searched by any number of threads while one other thread applies changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from keepstone.platform.settings import SearchSettings

EF_SEARCH: Final = SearchSettings().ef_search
"""Candidates looked at in a search through a graph, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far an index is in the change sequence of its collection."""

    seq: int
    """Number of the last change that was applied; 0 when there was none, -1 when it must be built from the chunks."""
    check: str = ""
    """What that change was, to notice a database that was put back to an older state."""


UNBUILT = Position(-1)


@dataclass(frozen=True, slots=True)
class Ranking:
    """What one index found: best first, equal scores by ascending id."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)


EMPTY_RANKING = Ranking(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64))


class ChunkIndex(Protocol):
    """What both halves have in common."""

    @property
    def position(self) -> Position:
        """How far it is, including changes that a kill of the process could still undo."""

    @property
    def durable_position(self) -> Position:
        """How far it would be after a kill of the process."""

    @property
    def count(self) -> int:
        """Number of chunks that it holds."""

    @property
    def memory_bytes(self) -> int:
        """Memory that it takes, roughly."""

    def ids(self) -> NDArray[np.int64]:
        """Return the ids of all chunks that it holds, ascending."""

    def clear(self) -> None:
        """Forget all; the position becomes `UNBUILT`."""

    def save(self) -> None:
        """Make all that was applied durable.

        Raises:
            StorageFull: no room; what was durable before still is.
        """

    def close(self) -> None:
        """Let go of files and memory, without saving."""


class VectorIndex(ChunkIndex, Protocol):
    """Finds the chunks whose vectors point the way the question's does."""

    def apply(self, removed: Sequence[int], added: Mapping[int, NDArray[np.float32]], position: Position) -> None:
        """Remove and add chunks; removing what is not there and adding what is changes nothing.

        Args:
            removed: ids of chunks that are gone.
            added: unit vectors by chunk id.
            position: where the index stands afterwards.
        """

    def search(
        self, vector: NDArray[np.float32], k: int, *, allowed: Sequence[int] | None = None, exact: bool = False
    ) -> Ranking:
        """Return the `k` chunks of highest cosine similarity, -1 to 1; fewer when there are fewer.

        Args:
            vector: a unit vector, shape (d,).
            k: how many.
            allowed: ids to choose from; all by default.
            exact: compare with every vector instead of walking the graph.
        """

    def scores(self, vector: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the cosine similarity of each of these chunks to within 0.0001, NaN for those it does not hold."""

    def vectors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the vector of each of these chunks, shape (n, d), every number to within 0.001.

        Rows of those that it does not hold are NaN.
        """


class LexicalIndex(ChunkIndex, Protocol):
    """Finds the chunks that have the question's words."""

    def apply(self, removed: Sequence[int], added: Mapping[int, Sequence[str]], position: Position) -> None:
        """Remove and add chunks, durably; removing what is not there and adding what is changes nothing.

        Args:
            removed: ids of chunks that are gone.
            added: terms by chunk id, as `analysis.tokens` gives them.
            position: where the index stands afterwards.
        """

    def search(self, terms: Sequence[str], k: int, *, allowed: Sequence[int] | None = None) -> Ranking:
        """Return the `k` chunks of highest BM25 score among those that hold any of the terms."""

    def scores(self, terms: Sequence[str], ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the BM25 score of each of these chunks; 0 for those without any of the terms, or not held."""

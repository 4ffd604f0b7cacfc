"""Vectors in Milvus: hierarchical navigable small worlds (Malkov and Yashunin, 2016), on a server or a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keepstone.retrieval.indexes.base import EF_SEARCH, EMPTY_RANKING, Position, Ranking
from keepstone.retrieval.indexes.hnsw import EF_CONSTRUCTION, M
from keepstone.retrieval.indexes.milvus_index import MilvusIndex
from keepstone.retrieval.indexes.milvus_rows import MAX_HITS, MilvusRows, RowKind, best
from keepstone.retrieval.indexes.milvus_server import MilvusServer

_FORMAT = 1
_VECTOR = "vector"
# Where the server finds too few, which a walk through a graph may, up to so many vectors are read and compared here.
_SCANNED = 20_000


class MilvusVectors(MilvusIndex):
    """The vectors of one collection.

    Args:
        server: where they are.
        name: of their Milvus collection.
        dimension: length of the vectors.
        encoder: version of the encoder; vectors of another one are not used.
        ef_search: candidates looked at in a search: more finds more of the true neighbours and takes longer.
    """

    def __init__(
        self, server: MilvusServer, name: str, *, dimension: int, encoder: str, ef_search: int = EF_SEARCH
    ) -> None:
        self._dimension = dimension
        super().__init__(MilvusRows(server, name, _kind(dimension, encoder, ef_search)))

    def apply(self, removed: Sequence[int], added: Mapping[int, NDArray[np.float32]], position: Position) -> None:
        """Remove and add vectors; removing what is not there and adding what is changes nothing."""
        self._rows.write(removed, {each: {_VECTOR: vector} for each, vector in added.items()}, position)

    def search(
        self, vector: NDArray[np.float32], k: int, *, allowed: Sequence[int] | None = None, exact: bool = False
    ) -> Ranking:
        """Return the `k` vectors of highest inner product among the allowed ones; `exact` reads them all."""
        if exact or k >= MAX_HITS:
            return self._scan(vector, k, allowed)
        found = self._rows.search(vector, k, allowed)
        there = self.count if allowed is None else len(allowed)
        if len(found) < min(k, there) and there <= _SCANNED:
            return self._scan(vector, k, allowed)
        return found

    def scores(self, vector: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
        """Return the inner product with each of these vectors, NaN for those that are not here."""
        return (self.vectors(ids) @ vector).astype(np.float64)

    def vectors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return each of these vectors, NaN for those that are not here."""
        place = {each: at for at, each in enumerate(ids)}
        found = np.full((len(place), self._dimension), np.nan, dtype=np.float32)
        for some, vectors in self._rows.read(_VECTOR, ids):
            found[[place[each] for each in some.tolist()]] = vectors
        return found[[place[each] for each in ids]]

    def _scan(self, vector: NDArray[np.float32], k: int, allowed: Sequence[int] | None) -> Ranking:
        found = EMPTY_RANKING
        for ids, vectors in self._rows.read(_VECTOR, allowed):
            rows = np.array(vectors, dtype=np.float32).reshape(-1, self._dimension)
            found = best([found, Ranking(ids, (rows @ vector).astype(np.float64))], k)
        return found


def _kind(dimension: int, encoder: str, ef_search: int) -> RowKind:
    def define(schema: Any, indexes: Any) -> None:
        from pymilvus import DataType

        schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=dimension)
        parameters = {"M": M, "efConstruction": EF_CONSTRUCTION}
        indexes.add_index(_VECTOR, index_type="HNSW", metric_type="IP", params=parameters)

    return RowKind(
        made_by=f"{_FORMAT}/{dimension}/{encoder}",
        searched=_VECTOR,
        metric="IP",
        blank={_VECTOR: np.zeros(dimension, dtype=np.float32)},
        define=define,
        parameters=lambda limit: {"ef": max(ef_search, limit)},
        complete=False,
    )

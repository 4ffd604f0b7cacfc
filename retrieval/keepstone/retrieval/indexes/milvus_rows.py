"""The rows of one half of an index: a Milvus collection of their own, by chunk id.

Milvus has no transactions, so a row with an id that no chunk has holds the position and is written after all others:
what a kill leaves undone is done again, and doing it twice changes nothing. A collection without that row was not built
to its end, and is dropped before it is built anew.

What a process wrote it finds at once; what another one wrote it may find a moment later. Ids, counts and positions are
always the newest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keepstone.retrieval.embeddings import batched
from keepstone.retrieval.indexes.base import EMPTY_RANKING, UNBUILT, Position, Ranking
from keepstone.retrieval.indexes.milvus_server import CollectionMissing, MilvusServer

MAX_HITS = 16_384
"""More Milvus does not return."""

_POSITION_ID = -1
_RECORD = "record"
_RECORD_CHARS = 1024
# A call may carry 64 MiB; the longest vectors and texts have 128 and 64 KiB.
_WRITTEN_ROWS = 250
_READ_ROWS = 250
_DELETED_IDS = 10_000
# Longest list of allowed ids in one filter: some 40 KB that the server has to parse.
_LISTED_IDS = 4096
_NEWEST = "Strong"
_OWN_WRITES = "Session"


@dataclass(frozen=True, slots=True)
class RowKind:
    """What the rows of a half hold beside their ids, and how they are searched."""

    made_by: str
    """What they depend on, such as the encoder; rows that were made by another one are not used."""
    searched: str
    """The field that is searched."""
    metric: str
    blank: Mapping[str, Any]
    """Content of the row that holds the position; as far from any chunk as can be."""
    define: Callable[[Any, Any], None]
    """Adds fields to a schema, and indexes to the index parameters."""
    parameters: Callable[[int], dict[str, Any]]
    """Search parameters that find so many."""
    complete: bool
    """Whether a search that finds fewer than it may has found all there are."""


class MilvusRows:
    """The rows of one half.

    Args:
        server: where they are.
        name: the collection's; it is made when first written.
        kind: what they hold.
    """

    def __init__(self, server: MilvusServer, name: str, kind: RowKind) -> None:
        self._server, self._name, self._kind = server, name, kind
        self._exists = False
        self._count: int | None = None
        self._position = UNBUILT
        self.refresh()

    @property
    def position(self) -> Position:
        """How far they are in the change sequence, as far as this process knows."""
        return self._position

    @property
    def count(self) -> int:
        """Number of chunks."""
        if self._count is None:
            [row] = self._query(output_fields=["count(*)"]) or [{"count(*)": 0}]
            self._count = max(0, int(row["count(*)"]) - (self._position != UNBUILT))
        return self._count

    def refresh(self) -> None:
        """Look what other processes have done."""
        self._count = None
        self._exists = bool(self._server.call("has_collection", self._name))
        if self._exists and not self._server.call("list_indexes", self._name):
            # Its maker was killed between two steps.
            self.clear()
        if self._exists:
            self._server.call("load_collection", self._name)
        self._position = self._read_position()

    def ids(self) -> NDArray[np.int64]:
        """Return the ids of all chunks, ascending."""
        pages = self._pages(["id"], MAX_HITS - 1)
        return np.sort(np.array([row["id"] for page in pages for row in page], dtype=np.int64))

    def write(self, removed: Sequence[int], added: Mapping[int, Mapping[str, Any]], position: Position) -> None:
        """Remove and add chunks, then move the position.

        Args:
            removed: ids of chunks that are gone.
            added: fields by chunk id.
            position: where the rows stand afterwards.
        """
        if not self._exists:
            self._make()
        self._count = None
        for some in batched(list(added.items()), _WRITTEN_ROWS):
            self._upsert([{"id": each, _RECORD: "", **fields} for each, fields in some])
        for gone in batched([int(each) for each in removed if each not in added], _DELETED_IDS):
            self._server.call("delete", self._name, ids=list(gone))
        if position != self._position:
            self._write_position(position)

    def search(self, question: Any, k: int, allowed: Sequence[int] | None = None) -> Ranking:
        """Return the `k` best chunks among the allowed ones; `k` is below `MAX_HITS`."""
        if k <= 0 or (allowed is not None and not len(allowed)):
            return EMPTY_RANKING
        if allowed is None:
            # One more, for the row with the position.
            return best([self._find(question, k + 1)], k)
        if len(allowed) > _LISTED_IDS:
            found = self._search_widely(question, k, allowed)
            if found is not None:
                return found
        return best([self._find(question, k, some) for some in batched(allowed, _LISTED_IDS)], k)

    def read(self, field: str, ids: Sequence[int] | None = None) -> Iterator[tuple[NDArray[np.int64], list[Any]]]:
        """Return ids of chunks and what they have in a field, some at a time: of these chunks, or of all."""
        if ids is None:
            pages = self._pages(["id", field], _READ_ROWS)
        else:
            known = [int(each) for each in dict.fromkeys(ids) if each >= 0]
            pages = (self._query(ids=list(some), output_fields=["id", field]) for some in batched(known, _READ_ROWS))
        for rows in filter(None, pages):
            yield np.array([row["id"] for row in rows], dtype=np.int64), [row[field] for row in rows]

    def clear(self) -> None:
        """Forget all, with the position."""
        self._server.call("drop_collection", self._name)
        self._forget()

    def _search_widely(self, question: Any, k: int, allowed: Sequence[int]) -> Ranking | None:
        """Look among all chunks for enough allowed ones; None where they are too rare."""
        members = np.asarray(allowed, dtype=np.int64)
        width = max(2 * k, 2 * k * self.count // len(members))
        while width < MAX_HITS:
            found = self._find(question, width)
            is_allowed = np.isin(found.ids, members)
            kept = Ranking(found.ids[is_allowed], found.scores[is_allowed])
            if len(kept) >= k or (self._kind.complete and len(found) < width):
                return best([kept], k)
            width *= 4
        return None

    def _find(self, question: Any, limit: int, allowed: Sequence[int] | None = None) -> Ranking:
        kind = self._kind
        found = self._unless_missing(
            "search",
            data=[question],
            anns_field=kind.searched,
            limit=limit,
            filter="" if allowed is None else f"id in {[int(each) for each in allowed]}",
            output_fields=["id"],
            search_params={"metric_type": kind.metric, "params": kind.parameters(limit)},
            consistency_level=_OWN_WRITES,
        )
        if not found:
            return EMPTY_RANKING
        ids = np.array(list(found[0].ids), dtype=np.int64)
        scores = np.array(list(found[0].distances), dtype=np.float64)
        if kind.metric == "BM25":
            # Never below zero; milvus-lite returns it negated, as a distance.
            scores = np.abs(scores)
        is_chunk = ids != _POSITION_ID
        return Ranking(ids[is_chunk], scores[is_chunk])

    def _make(self) -> None:
        from pymilvus import DataType, MilvusClient

        schema, indexes = MilvusClient.create_schema(), MilvusClient.prepare_index_params()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field(_RECORD, DataType.VARCHAR, max_length=_RECORD_CHARS)
        self._kind.define(schema, indexes)
        # Statistics of words are kept by shard.
        self._server.call("create_collection", self._name, schema=schema, index_params=indexes, num_shards=1)
        self._exists = True

    def _upsert(self, rows: list[dict[str, Any]]) -> None:
        self._server.call("upsert", self._name, data=rows)

    def _read_position(self) -> Position:
        rows = self._query(ids=[_POSITION_ID], output_fields=[_RECORD])
        if not rows:
            return UNBUILT
        record = json.loads(rows[0][_RECORD])
        if record["made_by"] != self._kind.made_by:
            return UNBUILT
        return Position(seq=int(record["seq"]), check=str(record["check"]))

    def _write_position(self, position: Position) -> None:
        if position == UNBUILT:
            self._server.call("delete", self._name, ids=[_POSITION_ID])
        else:
            record = json.dumps({"made_by": self._kind.made_by, **asdict(position)})
            self._upsert([{"id": _POSITION_ID, _RECORD: record, **self._kind.blank}])
        self._position = position

    def _query(self, **arguments: Any) -> list[dict[str, Any]]:
        return list(self._unless_missing("query", consistency_level=_NEWEST, **arguments) or [])

    def _pages(self, fields: list[str], size: int) -> Iterator[list[dict[str, Any]]]:
        if not self._exists:
            return
        try:
            yield from self._server.pages(
                self._name,
                size=size,
                filter=f"id > {_POSITION_ID}",
                output_fields=fields,
                consistency_level=_NEWEST,
            )
        except CollectionMissing:
            self._forget()

    def _unless_missing(self, method: str, **arguments: Any) -> Any:
        """Call a method that reads; None where there is nothing to read from."""
        if not self._exists:
            return None
        try:
            return self._server.call(method, self._name, **arguments)
        except CollectionMissing:
            self._forget()
            return None

    def _forget(self) -> None:
        self._exists, self._count, self._position = False, None, UNBUILT


def best(rankings: Sequence[Ranking], k: int) -> Ranking:
    """Return the `k` best of some rankings that have no chunk in common, equal scores by ascending id."""
    ids = np.concatenate([each.ids for each in rankings])
    scores = np.concatenate([each.scores for each in rankings])
    order = np.lexsort((ids, -scores))[:k]
    return Ranking(ids[order], scores[order])

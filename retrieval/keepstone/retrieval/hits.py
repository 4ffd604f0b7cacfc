"""From chunks that were found to the passages that people and models read.

Small chunks are found best, larger passages are read best: a chunk may name a wider span around it, its neighbours or
its parent, which then is read in its place, out of the document's text. Of several chunks in one such span the best
brings it, once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from keepstone.platform.access import Scope
from keepstone.platform.database.tables import ChunkRow, DocumentRow
from keepstone.retrieval.types import Hit

_HYDRATE = sa.select(
    ChunkRow.id,
    ChunkRow.document_id,
    ChunkRow.collection_id,
    ChunkRow.start,
    ChunkRow.end,
    ChunkRow.page,
    ChunkRow.context,
    DocumentRow.name,
    DocumentRow.sha256,
).join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
_EXACT = _HYDRATE.add_columns(ChunkRow.text, sa.null().label("wide_start"), sa.null().label("wide_end"))
_BESIDE = aliased(ChunkRow)


def read_chunks(
    session: Session, scope: Scope, ids: Sequence[int], *, widened: bool = True, neighbours: int = 0
) -> dict[int, Any]:
    """Return the rows of those chunks that are still there, by their ids, for `hit_of`.

    Args:
        session: reads.
        scope: the collections that they have to be in.
        ids: at most some thousands.
        widened: whether what they name is read in their place.
        neighbours: with how many chunks of their document on either side they are read then.
    """
    query = _widened(neighbours) if widened else _EXACT
    found = session.execute(query.where(ChunkRow.id.in_(ids), ChunkRow.collection_id.in_(scope.collection_ids)))
    return {row.id: row for row in found}


def _widened(neighbours: int) -> sa.Select[Any]:
    """Return the statement that reads what chunks, and their neighbours, name in their place."""
    start: sa.ColumnElement[int | None] = sa.type_coerce(ChunkRow.wide_start, sa.Integer)
    end: sa.ColumnElement[int | None] = sa.type_coerce(ChunkRow.wide_end, sa.Integer)
    if neighbours:
        beside = (
            _BESIDE.document_id == ChunkRow.document_id,
            _BESIDE.ordinal.between(ChunkRow.ordinal - neighbours, ChunkRow.ordinal + neighbours),
        )
        first = sa.func.min(sa.func.coalesce(_BESIDE.wide_start, _BESIDE.start))
        last = sa.func.max(sa.func.coalesce(_BESIDE.wide_end, _BESIDE.end))
        start = sa.select(first).where(*beside).correlate(ChunkRow).scalar_subquery()
        end = sa.select(last).where(*beside).correlate(ChunkRow).scalar_subquery()
    # SQL counts characters from 1.
    text = sa.func.substr(DocumentRow.text, start + 1, end - start)
    return _HYDRATE.add_columns(
        sa.case((start.is_(None), ChunkRow.text), else_=text).label("text"),
        start.label("wide_start"),
        end.label("wide_end"),
    )


def hit_of(row: Any, score: float = 0.0, dense: float = math.nan, lexical: float = math.nan, fused: float = 0.0) -> Hit:
    """Return what one row of `read_chunks` says, with its scores; those that are not numbers are unknown."""
    wide = row.wide_start is not None and (row.wide_start, row.wide_end) != (row.start, row.end)
    return Hit(
        chunk_id=row.id,
        document_id=row.document_id,
        document_name=row.name,
        document_sha256=row.sha256 or "",
        collection_id=row.collection_id,
        text=row.text,
        start=row.wide_start if wide else row.start,
        end=row.wide_end if wide else row.end,
        page=row.page,
        context=row.context,
        score=score,
        dense_score=None if math.isnan(dense) else dense,
        lexical_score=None if math.isnan(lexical) else lexical,
        found=(row.start, row.end) if wide else None,
        fused_score=fused,
    )


def without_repeats(hits: Iterable[Hit]) -> Iterator[Hit]:
    """Pass over chunks that stand in what a hit before them was widened to.

    Args:
        hits: best first.
    """
    read: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for hit in hits:
        start, end = hit.found or (hit.start, hit.end)
        if any(first <= start and end <= last for first, last in read[hit.document_id]):
            continue
        if hit.found:
            read[hit.document_id].append((hit.start, hit.end))
        yield hit

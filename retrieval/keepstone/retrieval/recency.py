"""Newer documents first: what a passage scores fades with the age of its document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from keepstone.platform.database.tables import ChunkRow, DocumentRow
from keepstone.retrieval.embeddings import batched

Floats = NDArray[np.float64]

_DATE = "date"
_DAY_S = 86_400.0
_IDS_PER_STATEMENT = 1000


def faded(scores: Floats, ages: Floats, *, half_life: float) -> Floats:
    """Return the scores; what each has above the lowest is halved with every half-life.

    Args:
        scores: of the candidates, on any scale.
        ages: of their documents, in days.
        half_life: in days.
    """
    if not len(scores):
        return scores
    lowest = scores.min()
    result: Floats = lowest + (scores - lowest) * 0.5 ** (ages / half_life)
    return result


def ages(session: Session, chunks: Sequence[int], now: datetime) -> Floats:
    """Return how many days old the documents of chunks are; 0 for those of the future, and for what is gone.

    A document's date is the `date` among its details, in ISO 8601, else the time at which it was added.
    """
    found: dict[int, float] = {}
    query = sa.select(ChunkRow.id, DocumentRow.details, DocumentRow.created_at)
    query = query.join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
    for some in batched(list(chunks), _IDS_PER_STATEMENT):
        for chunk, details, added in session.execute(query.where(ChunkRow.id.in_(some))):
            found[chunk] = max(0.0, (now - _date(details, added)).total_seconds() / _DAY_S)
    return np.array([found.get(each, 0.0) for each in chunks])


def _date(details: Mapping[str, Any] | None, added: datetime) -> datetime:
    try:
        date = datetime.fromisoformat(str((details or {})[_DATE]))
    except (KeyError, ValueError):
        date = added
    return date if date.tzinfo else date.replace(tzinfo=UTC)

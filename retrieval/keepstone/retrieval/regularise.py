"""Passages that stand together, and those that are alike, should score alike: each score is drawn a little to theirs.

Diaz (2005), "Regularizing Ad Hoc Retrieval Scores": by the cluster hypothesis passages of like content are relevant to
the same questions, so a passage that stands high alone, for a word or a turn of phrase, is likelier an error than one
among others that stand high. What a document says around a passage tells what the passage is about, which the passage,
cut out of it, may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.orm import Session, aliased

from keepstone.platform.database.tables import ChunkRow

Floats = NDArray[np.float64]

MOST: Final = 60
"""Only so many of the best candidates can be regularised at once, since each is compared with each."""
_NEIGHBOURS = 5
# So many passages on either side say what a passage is about.
_BESIDE = 2
# Documents count theirs, too, but behind their text, which would be read along.
_OTHER = aliased(ChunkRow)
_LAST = sa.select(sa.func.max(_OTHER.ordinal)).where(_OTHER.document_id == ChunkRow.document_id).scalar_subquery()
_PLACES = sa.select(ChunkRow.id, ChunkRow.document_id, ChunkRow.ordinal, _LAST).where(
    ChunkRow.id.in_(sa.bindparam("chunks", expanding=True))
)


@dataclass(frozen=True, slots=True)
class Places:
    """Where passages stand, shape (n,) each; one that is gone is the only passage of a document of its own."""

    documents: NDArray[np.int64]
    """A number for each document."""
    ordinals: NDArray[np.int64]
    """Place among the passages of the document, from 0."""
    lasts: NDArray[np.int64]
    """Place of the document's last one."""


def read_places(session: Session, chunks: Sequence[int]) -> Places:
    """Return where chunks stand, at most some thousands."""
    numbers: dict[str, int] = {}
    found = {
        chunk: (numbers.setdefault(document, len(numbers)), ordinal, last)
        for chunk, document, ordinal, last in session.execute(_PLACES, {"chunks": chunks})
    }
    places = [found.get(chunk, (-1 - at, 0, 0)) for at, chunk in enumerate(chunks)]
    return Places(*np.array(places, dtype=np.int64).reshape(-1, 3).T)


def drawn_to_neighbours(scores: Floats, places: Places, *, weight: float) -> Floats:
    """Return each score blended with the mean of it and of the two on either side of it in its document.

    Those of them that are no candidates count as 0, which is the mean of all standardised scores.

    Args:
        scores: of the candidates, shape (n,).
        places: where they stand.
        weight: of the mean, 0 to 1.
    """
    apart = np.abs(places.ordinals[:, None] - places.ordinals)
    beside = (places.documents[:, None] == places.documents) & (apart <= _BESIDE)
    before = np.minimum(places.ordinals, _BESIDE)
    behind = np.minimum(places.lasts - places.ordinals, _BESIDE)
    result: Floats = (1.0 - weight) * scores + weight * (beside @ scores) / (before + 1 + behind)
    return result


def regularise(scores: Floats, likeness: NDArray[np.float32], *, weight: float) -> Floats:
    """Return each score blended with the mean of its nearest candidates' scores, weighted by their likeness.

    Args:
        scores: of the candidates, shape (n,).
        likeness: cosine of each two, shape (n, n); one that is like no other keeps its score.
        weight: of the mean, 0 to 1.
    """
    near = min(_NEIGHBOURS, len(scores) - 1)
    if near < 1:
        return scores
    others = likeness.astype(np.float64)
    np.fill_diagonal(others, -np.inf)
    nearest = np.argpartition(-others, near - 1, axis=1)[:, :near]
    weights = np.take_along_axis(others, nearest, axis=1).clip(0)
    total = weights.sum(axis=1)
    alone = total <= 0
    around = (weights * scores[nearest]).sum(axis=1) / np.where(alone, 1.0, total)
    return np.where(alone, scores, (1.0 - weight) * scores + weight * around)

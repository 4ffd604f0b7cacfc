"""Passages that are alike should score alike: each score is drawn a little towards those of the nearest candidates.

Diaz (2005), "Regularizing Ad Hoc Retrieval Scores": by the cluster hypothesis passages of like content are relevant to
the same questions, so a passage that stands high alone, for a word or a turn of phrase, is likelier an error than one
among others that stand high.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST: Final = 200
"""Only so many of the best candidates can be regularised at once, since each is compared with each."""
_NEIGHBOURS = 5


def regularise(scores: NDArray[np.float64], likeness: NDArray[np.float32], *, weight: float) -> NDArray[np.float64]:
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

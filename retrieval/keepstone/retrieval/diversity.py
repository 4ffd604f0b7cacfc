"""Hits that tell different things: maximal marginal relevance (Carbonell and Goldstein, 1998)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def diversified(scores: NDArray[np.float64], likeness: NDArray[np.float32], k: int, *, diversity: float) -> list[int]:
    """Return the positions of `k` passages, each the best by its score less its likeness to those before it.

    Args:
        scores: of the passages, shape (n,); brought to 0 to 1 to be compared with cosines.
        likeness: cosine of each two, shape (n, n).
        k: how many.
        diversity: weight of the likeness against the score; 0 goes by the score alone.
    """
    spread = np.ptp(scores) if len(scores) else 0.0
    relevance = (scores - scores.min()) / spread if spread > 0 else np.zeros(len(scores))
    left = np.ones(len(scores), dtype=bool)
    repeated = np.zeros(len(scores))
    chosen: list[int] = []
    while len(chosen) < min(k, len(scores)):
        marginal = (1.0 - diversity) * relevance - diversity * repeated
        best = int(np.argmax(np.where(left, marginal, -np.inf)))
        chosen.append(best)
        left[best] = False
        repeated = np.maximum(repeated, likeness[best])
    return chosen

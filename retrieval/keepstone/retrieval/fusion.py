"""One ranking from two: a convex combination of z-scored dense and lexical scores.

Bruch, Gai and Ingber (2023), "An Analysis of Fusion Functions for Hybrid Retrieval", found that a convex combination of
normalized scores beats reciprocal rank fusion and needs hardly any tuning; so it does on our benchmarks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def fuse(
    dense: Floats, lexical: Floats, *, dense_weight: float | Floats, groups: Sequence[slice] = (slice(None),)
) -> Floats:
    """Return the fused score of each candidate; higher is better.

    Candidates are the union of what both searches found. Each list is brought to mean 0 and variance 1 over all of
    them; the sum is weighted. A list that tells nothing (no finite score, or all the same) has no say, and where
    neither tells anything all scores are 0.

    Args:
        dense: score of each candidate by meaning; NaN where it is unknown, which counts as the lowest of them.
        lexical: the same by words.
        dense_weight: between 0 (words alone) and 1 (meaning alone), for all or for each candidate.
        groups: candidates whose dense scores are of one encoder; those of different encoders mean different things, so
            each group is brought to mean 0 and variance 1 by itself. Together they are all candidates.
    """
    if dense.shape != lexical.shape:
        raise ValueError("dense and lexical scores must belong to the same candidates")
    by_meaning, by_words = _by_group(dense, groups), z_scores(lexical)
    if by_words is None:
        dense_weight = 1.0
    elif by_meaning is None:
        dense_weight = 0.0
    nothing = np.zeros(len(dense))
    return dense_weight * (nothing if by_meaning is None else by_meaning) + (1.0 - dense_weight) * (
        nothing if by_words is None else by_words
    )


def _by_group(scores: Floats, groups: Sequence[slice]) -> Floats | None:
    """Return each group's z-scores, 0 in those that tell nothing; None when none tells anything."""
    standardised = [z_scores(scores[group]) for group in groups]
    if all(each is None for each in standardised):
        return None
    result = np.zeros(len(scores))
    for group, each in zip(groups, standardised, strict=True):
        if each is not None:
            result[group] = each
    return result


def z_scores(scores: Floats) -> Floats | None:
    """Return scores with mean 0 and variance 1, or None when they do not tell candidates apart.

    NaN becomes the lowest score before that.
    """
    known = scores[np.isfinite(scores)]
    if not len(known):
        return None
    filled = np.where(np.isfinite(scores), scores, known.min())
    # Scores that differ by rounding alone are equal.
    deviation = filled.std()
    if deviation <= 1e-9 * max(1.0, float(np.abs(filled).max())):
        return None
    result: Floats = (filled - filled.mean()) / deviation
    return result


def order(scores: Floats, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of candidates, best first; equal scores by ascending id."""
    return np.lexsort((ids, -scores))

"""One ranking from two: a convex combination of z-scored dense and lexical scores, or of the reciprocals of ranks.

Bruch, Gai and Ingber (2023), "An Analysis of Fusion Functions for Hybrid Retrieval", found that a convex combination of
normalized scores beats reciprocal rank fusion and needs hardly any tuning; so it does on our benchmarks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Cormack, Clarke and Büttcher (2009) found this constant good everywhere.
_RANK_OFFSET = 60.0


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


def reciprocal_ranks(
    dense: Floats, lexical: Floats, *, dense_weight: float | Floats, groups: Sequence[slice] = (slice(None),)
) -> Floats:
    """Return the score of each candidate by reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).

    It knows the order of the scores alone, so scores of any kind may be fused. Equal scores share the better rank; a
    candidate that is unknown by meaning, or has none of the words, gets nothing from that list. Arguments as of `fuse`.
    """
    if dense.shape != lexical.shape:
        raise ValueError("dense and lexical scores must belong to the same candidates")
    by_meaning = np.zeros(len(dense))
    for group in groups:
        by_meaning[group] = _reciprocals(dense[group])
    by_words = _reciprocals(np.where(lexical > 0, lexical, np.nan))
    return dense_weight * by_meaning + (1.0 - dense_weight) * by_words


def _reciprocals(scores: Floats) -> Floats:
    """Return 1 / (60 + rank) of each score, ranks counted from 1; 0 for those that are not finite."""
    known = np.isfinite(scores)
    ascending = np.sort(scores[known])
    ranks = 1 + len(ascending) - np.searchsorted(ascending, scores[known], side="right")
    result = np.zeros(len(scores))
    result[known] = 1.0 / (_RANK_OFFSET + ranks)
    return result


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

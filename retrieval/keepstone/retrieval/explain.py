"""Why a passage stands where it does: its score and its place at every stage of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepstone.retrieval.types import Hit

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """What one stage made of a passage."""

    score: float | None
    """None where the stage knows nothing of it."""
    rank: int | None
    """Counted from 1, among all candidates; None where the stage did not rank it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A passage at every stage, in their order."""

    chunk_id: int
    dense: Place
    """By meaning: cosine."""
    lexical: Place
    """By words: BM25."""
    fused: Place
    rerank: Place
    """By the reranker alone, among those that it read."""
    final: Place


def explain(
    hits: Sequence[Hit], ids: NDArray[np.int64], dense: Floats, lexical: Floats, fused: Floats
) -> tuple[Explanation, ...]:
    """Explain hits by the candidates that they come from.

    Args:
        hits: as the search returns them, the best first.
        ids: chunks of all candidates, shape (n,).
        dense: their scores by meaning; NaN where unknown.
        lexical: by words; 0 or NaN where they have none of the question's.
        fused: both together.
    """
    at = {int(chunk): position for position, chunk in enumerate(ids)}
    with_words = np.where(lexical > 0, lexical, np.nan)
    reranked = np.array([np.nan if hit.rerank_score is None else hit.rerank_score for hit in hits])
    return tuple(
        Explanation(
            chunk_id=hit.chunk_id,
            dense=_place(dense, at[hit.chunk_id]),
            lexical=_place(with_words, at[hit.chunk_id]),
            fused=_place(fused, at[hit.chunk_id]),
            rerank=_place(reranked, number),
            final=Place(hit.score, number + 1),
        )
        for number, hit in enumerate(hits)
    )


def _place(scores: Floats, at: int) -> Place:
    score = float(scores[at])
    return Place(None, None) if np.isnan(score) else Place(score, 1 + int((scores > score).sum()))

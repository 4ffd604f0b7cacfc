"""Why a passage stands where it does: its score and its place at every stage of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keepstone.retrieval.candidates import Candidates
from keepstone.retrieval.types import Hit

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Candidates and what the stages of a search made of their scores, shape (n,) each."""

    pool: Candidates
    convex: Floats
    """`Hit.fused_score` of each."""
    fused: Floats
    regularised: Floats
    final: Floats
    """By which they are ordered for the reranker."""


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
    regularised: Place
    """The same, drawn towards the scores of the passages beside it, and of those that are like it."""
    faded: Place
    """The same, less what the age of its document takes."""
    rerank: Place
    """By the reranker alone, among those that it read."""
    final: Place
    """As it was returned; its rank is not that of its score where the hits are to tell different things."""


def explain(hits: Sequence[Hit], scored: Scored) -> tuple[Explanation, ...]:
    """Explain hits, as the search returns them, by the candidates that they come from."""
    pool = scored.pool
    at = {int(chunk): position for position, chunk in enumerate(pool.ids)}
    with_words = np.where(pool.lexical > 0, pool.lexical, np.nan)
    reranked = np.array([np.nan if hit.rerank_score is None else hit.rerank_score for hit in hits])
    return tuple(
        Explanation(
            chunk_id=hit.chunk_id,
            dense=_place(pool.dense, at[hit.chunk_id]),
            lexical=_place(with_words, at[hit.chunk_id]),
            fused=_place(scored.fused, at[hit.chunk_id]),
            regularised=_place(scored.regularised, at[hit.chunk_id]),
            faded=_place(scored.final, at[hit.chunk_id]),
            rerank=_place(reranked, number),
            final=Place(hit.score, number + 1),
        )
        for number, hit in enumerate(hits)
    )


def _place(scores: Floats, at: int) -> Place:
    score = float(scores[at])
    return Place(None, None) if np.isnan(score) else Place(score, 1 + int((scores > score).sum()))

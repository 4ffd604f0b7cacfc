"""Putting what search found into the order that a reranker gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keepstone.retrieval.fusion import fuse
from keepstone.retrieval.reranking.base import Reranker
from keepstone.retrieval.types import Hit


def rerank(reranker: Reranker, query: str, hits: Sequence[Hit], *, weight: float = 1.0) -> list[Hit]:
    """Return the hits, the best first, with their scores by the reranker.

    Both scores are brought to mean 0 and variance 1 over the hits, as fusion does, and added with their weights. The
    new score takes the place of the fused one.

    Args:
        reranker: scores them by their context and text, which is what the indexes read.
        query: in words.
        hits: as search found them.
        weight: of the reranker against search, 0 to 1.
    """
    if not hits:
        return []
    texts = [f"{hit.context}\n{hit.text}" if hit.context else hit.text for hit in hits]
    closer = reranker.scores(query, texts)
    found = np.array([hit.score for hit in hits])
    scores = fuse(closer, found, dense_weight=weight)
    # Where scores are equal, what search put first stays first.
    order = np.argsort(-scores, kind="stable").tolist()
    return [replace(hits[at], score=float(scores[at]), rerank_score=float(closer[at])) for at in order]

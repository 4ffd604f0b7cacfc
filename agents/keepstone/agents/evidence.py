"""How strong the evidence for a question is, and below which strength the answer is "not in the documents"."""

from __future__ import annotations

from collections.abc import Sequence

from keepstone.agents.support import Evidence
from keepstone.agents.types import Passage
from keepstone.retrieval.analysis import tokens
from keepstone.retrieval.search import SearchResult

ABSTAIN_BELOW = 0.35
"""Fitted by `keepstone.training.abstention` on the train half of the example questions."""


def evidence_score(question: str, result: SearchResult, passages: Sequence[Passage]) -> float:
    """Return how well the best passage covers the question, 0 to 1.

    The mean of the best passage's cosine similarity, where the encoder knows the question's language, and of the share
    of the question's words, weighted by rarity, that one passage contains.
    """
    if not passages:
        return 0.0
    coverage = _coverage(question, passages)
    similarity = max((hit.dense_score for hit in result.hits if hit.dense_score is not None), default=0.0)
    weight = result.dense_weight
    return weight * max(similarity, 0.0) + (1 - weight) * coverage


def _coverage(question: str, passages: Sequence[Passage]) -> float:
    evidence = Evidence(passages)
    words = sorted(set(tokens(question)))
    total = sum(evidence.weight(word) for word in words)
    if not total:
        return 0.0
    best = 0.0
    for passage in passages:
        own = set(tokens(f"{passage.hit.context}\n{passage.text}"))
        best = max(best, sum(evidence.weight(word) for word in words if word in own))
    return best / total

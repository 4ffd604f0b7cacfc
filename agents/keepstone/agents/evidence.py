"""How strong the evidence for a question is, and below which strength the answer is "not in the documents".

Measured is how far the best passage stands out from the field of the next ones, in standard deviations of the fused
score (a query performance predictor in the manner of NQC: Shtok et al., ACM TOIS 30(2), 2012). A question that the
documents answer has a passage of its own; one that they only touch finds many passages that are alike. On XQuAD, with
and without the paragraph that holds the answer, it tells the two apart with an AUC of .95, in English and Chinese;
cosine similarity gave .78 and .56, word coverage .92 and .89.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from keepstone.retrieval.types import Hit

ABSTAIN_BELOW = 1.4
"""Fitted by `python -m benchmarks.abstention` on the train half of the example questions."""
HITS_NEEDED = 20
"""How many hits the measure wants to see."""
_FIELD_FROM = 5
_FEWEST = 8
_LEAST_COSINE = 0.25
_CERTAIN = 10.0


def evidence_strength(hits: Sequence[Hit]) -> float:
    """Return how far the best hit stands out from the sixth and those behind it.

    With too few hits for a field, all that can be told is whether there is any likeness at all: 10 if so, else 0.

    Args:
        hits: best first, at least `HITS_NEEDED` where the collection has so many passages.
    """
    if not hits:
        return 0.0
    if len(hits) < _FEWEST:
        alike = any((hit.lexical_score or 0.0) > 0 or (hit.dense_score or 0.0) >= _LEAST_COSINE for hit in hits)
        return _CERTAIN if alike else 0.0
    return hits[0].score - fmean(hit.score for hit in hits[_FIELD_FROM:HITS_NEEDED])

"""Fitting the threshold below which the pipeline says "not in the documents".

`keepstone.agents.evidence.ABSTAIN_BELOW` was fitted with this on the train half of the example questions
(`python -m benchmarks.abstention`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Threshold:
    """A fitted threshold."""

    value: float
    balanced_accuracy: float
    """Mean of the shares of answerable questions kept and of unanswerable ones declined, on the fitting data."""


def fit_threshold(answerable: Sequence[float], unanswerable: Sequence[float]) -> Threshold:
    """Return the threshold with the best balanced accuracy; among equals, the one in the middle of the widest gap.

    Args:
        answerable: evidence scores of questions that the documents answer.
        unanswerable: evidence scores of questions that they do not.

    Raises:
        ValueError: one of the two is empty.
    """
    if not answerable or not unanswerable:
        raise ValueError("fitting a threshold takes at least one answerable and one unanswerable question")
    scores = sorted({*answerable, *unanswerable})
    gaps = [(low, high) for low, high in zip([scores[0] - 1e-6, *scores], [*scores, scores[-1] + 1e-6], strict=True)]
    best = max(gaps, key=lambda gap: (_balanced_accuracy(sum(gap) / 2, answerable, unanswerable), gap[1] - gap[0]))
    value = sum(best) / 2
    return Threshold(value, _balanced_accuracy(value, answerable, unanswerable))


def _balanced_accuracy(threshold: float, answerable: Sequence[float], unanswerable: Sequence[float]) -> float:
    kept = sum(score >= threshold for score in answerable) / len(answerable)
    declined = sum(score < threshold for score in unanswerable) / len(unanswerable)
    return (kept + declined) / 2

"""Fitting the threshold below which the pipeline says "not in the documents".

`keepstone.agents.evidence.ABSTAIN_BELOW` was fitted with this on the train half of the example questions
(`python -m benchmarks.abstention`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Threshold:
    """A fitted threshold, and what it does to the questions it was fitted on."""

    value: float
    answerable_declined: int
    unanswerable_declined: int


def fit_threshold(
    answerable: Sequence[float], unanswerable: Sequence[float], *, most_declined: float = 1 / 8
) -> Threshold:
    """Return the highest threshold that declines at most a given share of the answerable questions.

    To be told "not in the documents" of something that is there costs more trust than an answer beside the point that
    shows its sources; so the share of false refusals is bounded, and as much as possible is refused within it.

    Args:
        answerable: evidence of questions that the documents answer.
        unanswerable: evidence of questions that they do not.
        most_declined: largest share of the answerable ones that may be declined.

    Raises:
        ValueError: one of the two is empty.
    """
    if not answerable or not unanswerable:
        raise ValueError("fitting a threshold takes at least one answerable and one unanswerable question")
    kept = sorted(answerable)[int(len(answerable) * most_declined) :]
    # In the middle of the gap below the weakest question that is kept, as far as anything known lies there.
    below = [score for score in (*answerable, *unanswerable) if score < kept[0]]
    value = (kept[0] + max(below)) / 2 if below else kept[0]
    return Threshold(
        value=value,
        answerable_declined=sum(score < value for score in answerable),
        unanswerable_declined=sum(score < value for score in unanswerable),
    )

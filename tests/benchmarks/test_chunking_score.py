"""The measures of the chunking benchmark are those of Chroma's published code."""

from __future__ import annotations

import pytest

from benchmarks.chunking import score


@pytest.mark.parametrize(
    ("read", "elsewhere", "recall", "precision", "iou"),
    [
        ([(0, 20)], 0, 1.0, 0.5, 0.5),
        ([(15, 35)], 0, 0.5, 0.25, 5 / 25),
        ([(0, 20), (10, 30)], 0, 1.0, 0.25, 0.25),
        ([(0, 20)], 60, 1.0, 0.125, 0.125),
        ([], 50, 0.0, 0.0, 0.0),
        ([], 0, 0.0, 0.0, 0.0),
    ],
    ids=["whole", "half", "read-twice-counts-twice", "other-corpora-count", "nothing-right", "nothing"],
)
def test_score_of_what_was_read(
    read: list[tuple[int, int]], elsewhere: int, recall: float, precision: float, iou: float
) -> None:
    found = score(read, elsewhere, frozenset(range(10, 20)))
    assert (found.recall, found.precision, found.iou) == pytest.approx((recall, precision, iou))

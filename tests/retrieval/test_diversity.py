"""Maximal marginal relevance: repeats stand back, and the best stays first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keepstone.retrieval.diversity import diversified

_ALIKE = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=np.float32)


def test_a_repeat_stands_back_behind_what_is_new() -> None:
    scores = np.array([3.0, 2.9, 1.0])
    assert diversified(scores, _ALIKE, 3, diversity=0.6) == [0, 2, 1]
    assert diversified(scores, _ALIKE, 3, diversity=0.0) == [0, 1, 2]
    assert diversified(scores, _ALIKE, 1, diversity=0.6) == [0]


@given(st.integers(0, 12), st.integers(1, 15), st.floats(0, 0.99), st.integers(0, 9))
def test_each_is_chosen_once_and_the_best_first(count: int, k: int, diversity: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, likeness = random.normal(size=count), random.uniform(-1, 1, size=(count, count)).astype(np.float32)
    chosen = diversified(scores, likeness, k, diversity=diversity)
    assert len(chosen) == len(set(chosen)) == min(k, count)
    if chosen:
        assert chosen[0] == int(scores.argmax())

"""Regularisation: likeness draws scores together, and nothing else does."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keepstone.retrieval.regularise import regularise


def _likeness(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    return (unit @ unit.T).astype(np.float32)


@given(st.integers(0, 30), st.floats(0, 1), st.integers(0, 9))
def test_no_score_leaves_the_range_of_all(count: int, weight: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, likeness = random.normal(size=count), _likeness(random.normal(size=(count, 4)))
    result = regularise(scores, likeness, weight=weight)
    assert result.shape == scores.shape
    if count:
        assert scores.min() - 1e-9 <= result.min()
        assert result.max() <= scores.max() + 1e-9


@given(hnp.arrays(np.float64, st.integers(0, 20), elements=st.floats(-5, 5)))
def test_nothing_changes_without_weight_or_without_likeness(scores: np.ndarray) -> None:
    """Chunks whose vectors are missing, or of a language that the encoder does not know, keep their scores."""
    alike = np.ones((len(scores), len(scores)), dtype=np.float32)
    assert np.allclose(regularise(scores, alike, weight=0.0), scores)
    assert np.allclose(regularise(scores, np.zeros_like(alike), weight=0.5), scores)


def test_one_among_good_ones_overtakes_one_that_stands_alone() -> None:
    near, far = np.tile([1.0, 0.0], (7, 1)), np.tile([0.0, 1.0], (7, 1))
    scores = np.array([1.9, *[1.5] * 6, 2.0, *[-1.0] * 6])
    result = regularise(scores, _likeness(np.concatenate([near, far])), weight=0.2)
    assert int(result.argmax()) == 0

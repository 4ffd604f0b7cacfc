"""Fusion: the invariants of a convex combination of z-scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keepstone.retrieval.fusion import fuse, order, reciprocal_ranks, z_scores

_SCORES = st.floats(-1e6, 1e6) | st.just(float("nan"))


def _pairs() -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    return st.integers(0, 20).flatmap(
        lambda n: st.tuples(*[hnp.arrays(np.float64, n, elements=_SCORES) for _ in range(2)])
    )


@given(_pairs(), st.floats(0, 1))
def test_fused_scores_are_finite_whatever_comes_in(pair: tuple[np.ndarray, np.ndarray], weight: float) -> None:
    fused = fuse(*pair, dense_weight=weight)
    assert fused.shape == pair[0].shape
    assert np.isfinite(fused).all()


@given(hnp.arrays(np.float64, st.integers(2, 20), elements=st.integers(-1000, 1000), unique=True), st.integers(0, 9))
def test_weight_zero_is_the_lexical_ranking_and_one_the_dense(scores: np.ndarray, seed: int) -> None:
    """With no weight on meaning, a language that the encoder does not know is searched by words alone."""
    other = np.random.default_rng(seed).permutation(scores)
    ids = np.arange(len(scores), dtype=np.int64)
    by_words = fuse(other, scores, dense_weight=0.0)
    by_meaning = fuse(other, scores, dense_weight=1.0)
    assert order(by_words, ids).tolist() == order(scores, ids).tolist()
    assert order(by_meaning, ids).tolist() == order(other, ids).tolist()


@given(_pairs(), st.floats(0, 1), st.floats(0.1, 100), st.floats(-100, 100))
def test_scale_and_shift_of_one_list_change_nothing(
    pair: tuple[np.ndarray, np.ndarray], weight: float, scale: float, shift: float
) -> None:
    """BM25 grows with the length of the question, cosine does not: neither may count for more because of that."""
    dense, lexical = np.round(pair[0]), np.round(pair[1])
    np.testing.assert_allclose(
        fuse(dense, lexical, dense_weight=weight), fuse(dense, lexical * scale + shift, dense_weight=weight), atol=1e-4
    )


@given(_pairs(), st.floats(0, 1), st.randoms())
def test_order_of_candidates_does_not_matter(
    pair: tuple[np.ndarray, np.ndarray], weight: float, random: object
) -> None:
    del random
    turned = [scores[::-1] for scores in pair]
    np.testing.assert_allclose(
        fuse(*pair, dense_weight=weight)[::-1], fuse(*turned, dense_weight=weight), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("scores", [[], [3.0], [2.0, 2.0, 2.0], [float("nan")] * 3, [0.1 + 0.2, 0.3]])
def test_a_list_that_tells_nothing_has_no_say(scores: list[float]) -> None:
    lexical = np.array(scores)
    dense = np.linspace(0.9, 0.1, len(scores))
    assert z_scores(lexical) is None
    fused = fuse(dense, lexical, dense_weight=0.0)
    assert order(fused, np.arange(len(scores))).tolist() == list(range(len(scores)))


@given(_pairs(), _pairs(), st.floats(0, 1), st.floats(0.1, 100), st.floats(-100, 100))
def test_encoders_with_other_scales_change_nothing(
    one: tuple[np.ndarray, np.ndarray],
    other: tuple[np.ndarray, np.ndarray],
    weight: float,
    scale: float,
    shift: float,
) -> None:
    """The cosines of one encoder may lie anywhere among those of another: only its own order and distances count."""
    groups = (slice(0, len(one[0])), slice(len(one[0]), None))
    lexical = np.round(np.concatenate([one[1], other[1]]))
    fused = [
        fuse(np.concatenate([dense, np.round(other[0])]), lexical, dense_weight=weight, groups=groups)
        for dense in (np.round(one[0]), np.round(one[0]) * scale + shift)
    ]
    np.testing.assert_allclose(*fused, atol=1e-4)


@given(_pairs(), st.floats(0, 1))
def test_one_group_is_all_candidates(pair: tuple[np.ndarray, np.ndarray], weight: float) -> None:
    together = fuse(*pair, dense_weight=weight)
    groups = (slice(0, 0), slice(0, len(pair[0])))
    weights = np.full(len(pair[0]), weight)
    np.testing.assert_array_equal(together, fuse(*pair, dense_weight=weights, groups=groups))


def test_a_group_that_tells_nothing_stands_at_the_mean() -> None:
    dense, lexical = np.array([0.9, 0.1, 0.5, 0.5]), np.array([1.0, 2.0, 3.0, 4.0])
    fused = fuse(dense, lexical, dense_weight=1.0, groups=(slice(0, 2), slice(2, 4)))
    assert fused.tolist() == [1.0, -1.0, 0.0, 0.0]


def test_a_candidate_of_unknown_score_counts_as_the_lowest() -> None:
    z = z_scores(np.array([3.0, np.nan, 1.0]))
    assert z is not None
    assert z[1] == z[2]


def test_equal_scores_come_by_ascending_id() -> None:
    assert order(np.array([1.0, 2.0, 1.0]), np.array([9, 5, 3])).tolist() == [1, 2, 0]


def test_lists_of_different_candidates_are_our_error() -> None:
    with pytest.raises(ValueError, match="same candidates"):
        fuse(np.zeros(2), np.zeros(3), dense_weight=0.5)


def test_reciprocal_ranks_are_those_of_the_paper() -> None:
    """1 / (60 + rank) of each list; equal scores share a rank, what a list does not know gets nothing from it."""
    dense = np.array([0.9, 0.5, 0.5, np.nan])
    lexical = np.array([0.0, 7.0, 2.0, 3.0])
    fused = reciprocal_ranks(dense, lexical, dense_weight=0.5)
    twice = [1 / 61, 1 / 62 + 1 / 61, 1 / 62 + 1 / 63, 1 / 62]
    assert (2 * fused).tolist() == pytest.approx(twice)


def test_reciprocal_ranks_count_within_each_encoder() -> None:
    dense = np.array([0.9, 0.8, 0.3, 0.2])
    fused = reciprocal_ranks(dense, np.zeros(4), dense_weight=1.0, groups=[slice(0, 2), slice(2, 4)])
    assert fused.tolist() == pytest.approx([1 / 61, 1 / 62, 1 / 61, 1 / 62])


@given(_pairs())
def test_a_language_that_the_encoder_does_not_know_is_ranked_by_words_alone(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    dense, lexical = pair
    fused = reciprocal_ranks(dense, lexical, dense_weight=0.0)
    assert np.isfinite(fused).all()
    for left, right in np.ndindex(len(lexical), len(lexical)):
        if lexical[left] > max(lexical[right], 0.0):
            assert fused[left] > fused[right]

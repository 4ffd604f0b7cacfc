"""The interval: the same for the same, mirrored when the models change places, and as wide as documents make it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from keepstone.training.evaluate.bootstrap import Pair, difference, ratio

SCORES = st.floats(0, 1, width=16)
PAIRS = st.lists(st.builds(Pair, st.sampled_from("abcdef"), SCORES, SCORES), min_size=1, max_size=30)
FEW = settings(max_examples=25)


@FEW
@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_the_questions_does_not_matter(pairs: list[Pair], draw: random.Random) -> None:
    shuffled = draw.sample(pairs, len(pairs))
    assert difference(shuffled) == difference(pairs)


@FEW
@given(PAIRS)
def test_a_model_does_not_differ_from_itself(pairs: list[Pair]) -> None:
    same = [Pair(pair.document, pair.live, pair.live) for pair in pairs]
    effect = difference(same)
    assert effect.value == 0
    assert (effect.low, effect.high) == ((0, 0) if effect.documents > 1 else (None, None))


@FEW
@given(PAIRS)
def test_models_that_change_places_change_the_sign(pairs: list[Pair]) -> None:
    there, back = difference(pairs), difference([Pair(each.document, each.candidate, each.live) for each in pairs])
    assert there.value == pytest.approx(-back.value)
    if there.low is not None and back.high is not None:
        assert there.low == pytest.approx(-back.high)


@FEW
@given(PAIRS)
def test_the_interval_lies_within_what_single_documents_say(pairs: list[Pair]) -> None:
    effect = difference(pairs)
    changes = [
        np.mean([pair.candidate - pair.live for pair in pairs if pair.document == name])
        for name in {pair.document for pair in pairs}
    ]
    if effect.low is not None and effect.high is not None:
        assert min(changes) - 1e-9 <= effect.low <= effect.high <= max(changes) + 1e-9


@FEW
@given(PAIRS)
def test_asking_each_question_twice_makes_nothing_surer(pairs: list[Pair]) -> None:
    once, twice = difference(pairs), difference(pairs * 2)
    assert twice.value == pytest.approx(once.value)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_independent_questions_get_the_interval_of_a_paired_t_test() -> None:
    draw = np.random.default_rng(3)
    live = draw.uniform(size=60)
    candidate = live + draw.normal(0.02, 0.1, size=60)
    pairs = [Pair(str(place), *each) for place, each in enumerate(zip(live.tolist(), candidate.tolist(), strict=True))]
    effect = difference(pairs)
    expected = stats.ttest_rel(candidate, live).confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high), abs=0.003)


@pytest.mark.parametrize("documents", [6, 12])
def test_the_interval_of_a_difference_of_nothing_rarely_lies_above_zero(documents: int) -> None:
    """With questions that stand and fall together by document, where single questions would promise far too much."""
    draw = np.random.default_rng(documents)
    above = 0
    for seed in range(100):
        shifts = draw.normal(0, 0.1, size=documents)
        pairs = [
            Pair(str(place), 0.5, 0.5 + shift + draw.normal(0, 0.1))
            for place, shift in enumerate(shifts)
            for _ in "four"
        ]
        low = difference(pairs, seed=seed).low
        above += low is not None and low > 0
    assert above <= 6


def test_a_ratio_is_that_of_the_means() -> None:
    effect = ratio([Pair("a", 20, 30), Pair("b", 30, 45), Pair("c", 40, 60)])
    assert effect.value == effect.low == effect.high == pytest.approx(1.5)
    assert (effect.live, effect.candidate) == (30, 45)

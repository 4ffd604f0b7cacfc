"""The measures agree with what the field computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from keepstone.training.evaluate.metrics import answer_tokens, exact_match, ndcg, recall, token_f1


@given(st.permutations(range(12)), st.sets(st.integers(0, 11), min_size=1, max_size=5))
def test_ndcg_is_that_of_scikit_learn(ranked: list[int], relevant: set[int]) -> None:
    scores = [-ranked.index(each) for each in range(12)]
    truth = [float(each in relevant) for each in range(12)]
    assert ndcg(ranked, relevant, 10) == pytest.approx(ndcg_score(np.array([truth]), np.array([scores]), k=10))


def test_only_the_first_k_count() -> None:
    ranked = [4, 9, 7, 1]
    assert ndcg(ranked, {9}, 10) == pytest.approx(1 / math.log2(3))
    assert recall(ranked, {9, 1}, 3) == 0.5
    assert recall([], {9}, 10) == ndcg([], {9}, 10) == 0


@pytest.mark.parametrize(
    ("answer", "expected", "language", "exact", "f1"),
    [
        ("The Eiffel Tower!", "eiffel tower", "en", 1.0, 1.0),
        ("It is an Eiffel Tower.", "the Eiffel tower", "en", 0.0, 2 * 2 / (4 + 2)),
        ("两年", "保修两年。", "zh", 0.0, 2 * 2 / (2 + 4)),
        ("Corvan 220 使用手册", "corvan 220使用手册", "zh", 1.0, 1.0),
        ("den Motor", "Motor", "de", 1.0, 1.0),
        ("den Motor", "Motor", None, 0.0, 2 / 3),
        ("", "two years", "en", 0.0, 0.0),
        ("the", "...", "en", 1.0, 1.0),
    ],
)
def test_answers_are_compared_as_squad_and_mlqa_do(
    answer: str, expected: str, language: str | None, exact: float, f1: float
) -> None:
    assert exact_match(answer, expected, language) == exact
    assert token_f1(answer, expected, language) == pytest.approx(f1)


@given(st.text(), st.text())
def test_f1_is_symmetric_and_bounded(one: str, other: str) -> None:
    f1 = token_f1(one, other)
    assert 0 <= f1 <= 1
    assert f1 == token_f1(other, one)
    assert token_f1(one, one) == 1
    assert all(token and not token.isspace() for token in answer_tokens(one))

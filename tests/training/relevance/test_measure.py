"""Rankings of documents and of passages, and what they are worth; compared with values worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import RR, R, nDCG

from keepstone.retrieval.types import Hit
from keepstone.training.evaluate.metrics import reciprocal_rank
from keepstone.training.relevance.measure import figures, ranking, worth
from keepstone.training.relevance.questions import Item, Question


def hit(document: str, start: int = 0, end: int = 10) -> Hit:
    return Hit(
        chunk_id=start,
        document_id=document,
        document_name=document,
        document_sha256="",
        collection_id="col",
        text="",
        start=start,
        end=end,
        page=None,
        context="",
        score=0.0,
        dense_score=None,
        lexical_score=None,
    )


def test_documents_are_ranked_at_the_place_of_their_best_passage() -> None:
    """Further passages of a document take no place, whether it is relevant or not."""
    hits = [hit("x"), hit("x", 20), hit("a"), hit("a", 20), hit("y"), hit("b")]
    assert ranking(hits, [Item("b"), Item("a")]) == [-1, 1, -3, 0]


def test_passages_are_ranked_as_they_are_and_count_once() -> None:
    items = [Item("a", 5, 15), Item("a", 40, 50)]
    hits = [hit("a", 20, 30), hit("a", 0, 10), hit("a", 10, 20), hit("b"), hit("b", 30, 40), hit("a", 44, 46)]
    assert ranking(hits, items) == [-1, 0, -3, -4, 1]


def test_touching_is_sharing_a_character() -> None:
    assert ranking([hit("a", 0, 10)], [Item("a", 10, 20)]) == [-1]
    assert ranking([hit("a", 0, 11)], [Item("a", 10, 20)]) == [0]


def test_what_stands_around_a_passage_does_not_count() -> None:
    wide = replace(hit("a", 0, 100), found=(50, 60))
    assert ranking([wide], [Item("a", 10, 20)]) == [-1]
    assert ranking([wide], [Item("a", 55, 56)]) == [0]


def test_the_measures_are_those_of_the_textbook() -> None:
    hits = [hit("x"), hit("a"), hit("y"), hit("b")]
    scores = worth(hits, [Item("a"), Item("b"), Item("c")], 3)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert scores == {
        "ndcg@3": pytest.approx((1 / math.log2(3)) / ideal),
        "mrr@3": pytest.approx(1 / 2),
        "recall@3": pytest.approx(1 / 3),
    }
    assert reciprocal_rank([5, 1], [1], 1) == 0.0


@given(st.lists(st.sampled_from("abcdef"), max_size=20), st.sets(st.sampled_from("abc"), min_size=1))
def test_measures_lie_between_nothing_and_all(documents: list[str], relevant: set[str]) -> None:
    items = [Item(each) for each in sorted(relevant)]
    scores = worth([hit(each) for each in documents], items, 5)
    assert all(0 <= score <= 1.000001 for score in scores.values())
    best = worth([hit(item.document_id) for item in items], items, 5)
    assert best == pytest.approx({"ndcg@5": 1.0, "mrr@5": 1.0, "recall@5": 1.0})


@given(st.permutations(range(12)), st.sets(st.integers(0, 15), min_size=1))
def test_the_measures_are_those_of_trec_eval(ranked: list[int], relevant: set[int]) -> None:
    qrels = [ir_measures.Qrel("q", str(each), 1) for each in relevant]
    run = [ir_measures.ScoredDoc("q", str(each), -place) for place, each in enumerate(ranked)]
    hits = [hit(str(each)) for each in ranked]
    reference = ir_measures.calc_aggregate([nDCG @ 5, RR @ 5, R @ 5], qrels, run)
    assert worth(hits, [Item(str(each)) for each in relevant], 5) == {
        "ndcg@5": pytest.approx(reference[nDCG @ 5]),
        "mrr@5": pytest.approx(reference[RR @ 5]),
        "recall@5": pytest.approx(reference[R @ 5]),
    }


def test_intervals_hold_the_mean_and_need_more_than_one_document() -> None:
    questions = [Question(f"{number}?", (Item(f"doc{number % 5}"),)) for number in range(20)]
    scores = [{"ndcg@10": (number % 3) / 2} for number in range(20)]
    [figure] = figures(questions, scores)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= figure.mean <= figure.high
    [alone] = figures(questions[:1], scores[:1])
    assert (alone.low, alone.high) == (None, None)

"""What one answer is worth: right words, right citations, and the right to decline."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keepstone.training.evaluate.scoring import abstention, answer_scores, answered_elsewhere, search_scores
from tests.agents.passages import make_passage
from tests.training.evaluate.questions import QUESTION, make_answer


def test_an_answer_is_compared_without_its_citation_marks() -> None:
    scores = answer_scores(QUESTION, make_answer("Two years [1].", 1))
    assert scores == {"exact_match": 1, "f1": 1, "citation_recall": 1, "citation_precision": 1}


def test_a_citation_is_right_where_it_points_into_the_passage_that_answers() -> None:
    answer = make_answer("Two years [2] [1] [1].", 2, 1, 1)
    assert answer_scores(QUESTION, answer)["citation_precision"] == pytest.approx(2 / 3)
    further_down = replace(QUESTION, start=100, end=160)
    assert answer_scores(further_down, answer)["citation_precision"] == 0
    assert answer_scores(further_down, answer)["citation_recall"] == 0


def test_what_cites_nothing_has_no_precision_and_no_recall() -> None:
    assert answer_scores(QUESTION, make_answer("Two years.")) == {"exact_match": 1, "f1": 1, "citation_recall": 0}


def test_to_decline_is_to_answer_nothing() -> None:
    """Also where the words of the refusal happen to be those of the answer."""
    answer = make_answer("Two years.", outcome="declined")
    assert answer_scores(QUESTION, answer) == {"exact_match": 0, "f1": 0, "citation_recall": 0}


def test_without_a_known_answer_only_citations_are_judged() -> None:
    assert answer_scores(replace(QUESTION, answer=""), make_answer("Two years.", 1)) == {
        "citation_recall": 1,
        "citation_precision": 1,
    }


@pytest.mark.parametrize(
    ("declined", "without", "right"),
    [
        (False, True, 1.0),
        (True, True, 0.5),
        (False, False, 0.5),
        (True, False, 0.0),
        (False, None, 1.0),
        (True, None, 0.0),
    ],
)
def test_to_answer_with_the_document_and_to_decline_without_it_is_right(
    declined: bool, without: bool | None, right: float
) -> None:
    assert abstention(declined=declined, declined_without=without) == right


def test_a_question_that_another_document_answers_has_no_unanswerable_form() -> None:
    same = (make_passage(1, "The warranty of the pump lasts two years from delivery."),)
    other = (make_passage(1, "Passwords must have at least fourteen characters."),)
    assert answered_elsewhere(QUESTION, same)
    assert not answered_elsewhere(QUESTION, other)
    assert not answered_elsewhere(QUESTION, ())
    assert answered_elsewhere(replace(QUESTION, answer=""), other)


def test_a_ranking_is_worth_what_the_place_of_its_passage_is() -> None:
    hits = [make_passage(number, "").hit for number in (3, 2, 1)]
    assert search_scores(QUESTION, hits) == {"ndcg@10": 0.5, "recall@10": 1}
    assert search_scores(QUESTION, hits[:2]) == {"ndcg@10": 0, "recall@10": 0}

"""Judging must neither miss a passage for its markup nor count a passage of another document."""

from pathlib import Path

import pytest

from keepstone.platform.errors import InvalidInput
from keepstone.training.abstention import fit_threshold
from keepstone.training.questions import Evidence, Question, judge, load_questions, totals

ASKED = Question(
    id="q1",
    question="What does E14 mean?",
    language="en",
    answerable=True,
    answer="Clean it",
    document="Manual.pdf",
    passage="Clean the pan, then press Zero.",
    split="train",
)
RIGHT = Evidence("Manual.pdf", "| E14 | **Clean the  pan**,\nthen press Zero. |")
WRONG = Evidence("Other.pdf", "Clean the pan, then press Zero.")


def test_markup_and_white_space_do_not_matter() -> None:
    judgement = judge(ASKED, found=[WRONG, RIGHT], cited=[RIGHT], declined=False)
    assert judgement.found
    assert judgement.cited


def test_the_same_words_elsewhere_do_not_count() -> None:
    judgement = judge(ASKED, found=[WRONG], cited=[WRONG], declined=False)
    assert not judgement.found
    assert not judgement.cited


def test_a_declined_answer_cites_nothing() -> None:
    judgement = judge(ASKED, found=[RIGHT], cited=[RIGHT], declined=True)
    assert totals([judgement])["answerable_declined"] == 1
    assert not judgement.cited


def test_example_questions_are_valid() -> None:
    questions = load_questions(Path("examples/questions.jsonl"))
    assert len(questions) == 30
    assert sum(question.answerable for question in questions) == 24
    documents = {path.name for path in Path("examples/documents").iterdir()}
    assert {question.document for question in questions if question.answerable} <= documents


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"id": "q1"}\n')
    with pytest.raises(InvalidInput, match=r"questions\.jsonl, line 1"):
        load_questions(path)


def test_the_threshold_parts_the_two_groups_in_the_middle() -> None:
    fitted = fit_threshold([0.5, 0.7, 0.9], [0.1, 0.3])
    assert fitted.value == pytest.approx(0.4)
    assert (fitted.answerable_declined, fitted.unanswerable_declined) == (0, 2)


def test_no_more_answerable_questions_are_declined_than_allowed() -> None:
    answerable = [0.2, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]
    fitted = fit_threshold(answerable, [0.1, 0.5, 1.5])
    assert fitted.value == pytest.approx(0.55)
    assert (fitted.answerable_declined, fitted.unanswerable_declined) == (1, 2)

"""Which held-out questions are put: always the same, of as many documents as can be, and only those with a passage."""

from __future__ import annotations

from keepstone.training.evaluate.held_out import held_out
from tests.training.evaluate.conftest import Court


def test_documents_take_turns_where_there_are_more_questions_than_are_put(court: Court) -> None:
    database, dataset = court.runtime.database, court.dataset
    every = held_out(database, dataset, most=1000)
    documents = {question.document for question in every}
    assert documents == set(dataset.documents("test"))
    few = held_out(database, dataset, most=len(documents))
    assert {question.document for question in few} == documents
    assert few == every[: len(documents)] == held_out(database, dataset, most=len(documents))


def test_a_question_whose_document_was_deleted_is_passed_over(court: Court) -> None:
    database, dataset = court.runtime.database, court.dataset
    before = held_out(database, dataset, most=1000)
    gone = before[0].document_id
    court.runtime.library.delete_document(court.me, gone)
    after = held_out(database, dataset, most=1000)
    assert after == tuple(question for question in before if question.document_id != gone)
    assert len(after) < len(before)

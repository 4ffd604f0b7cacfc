"""What people say of answers becomes rows, on the side of the split where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keepstone.platform.access import readable_scope
from keepstone.platform.database.tables import AnswerRow
from keepstone.retrieval.types import Hit
from keepstone.training.data import Dataset, Side
from tests.stack import someone
from tests.training.data.handbooks import handbooks

SIDES: tuple[Side, ...] = ("train", "test")


@pytest.fixture(scope="module")
def rated(make_bench: Callable[..., Any]) -> Any:
    return make_bench(handbooks(16))


def hits_on(bench: Any, side: Side, query: str) -> list[Hit]:
    """Return what search finds on one side of the split of seed 0."""
    documents = set(bench.build().documents(side))
    with bench.runtime.database.reading() as session:
        scope = readable_scope(session, bench.me, [bench.collection])
    found = bench.runtime.searcher.search(scope, query, k=60).hits
    return [hit for hit in found if hit.document_sha256 in documents][:5]


def answered(bench: Any, hits: list[Hit], question: str, content: str, cites: int | None = 1) -> str:
    """Store an answer as answering does, made from these passages, and return its id."""
    passages = [
        {
            "number": number,
            "chunk_id": hit.chunk_id,
            "document_sha256": hit.document_sha256,
            "start": hit.start,
        }
        for number, hit in enumerate(hits, 1)
    ]
    with bench.runtime.database.transaction() as session:
        row = AnswerRow(
            principal_id=bench.me.id,
            collection_id=hits[0].collection_id,
            question=question,
            standalone_question=question,
            content=content,
            outcome="answered",
            record={"passages": passages, "claims": [{"citation": cites}]},
        )
        session.add(row)
        session.flush()
        return row.id


def asked(dataset: Dataset, question: str) -> dict[Side, list[Any]]:
    return {side: [row for row in dataset.retrieval(side) if row.question == question] for side in SIDES}


@pytest.mark.parametrize("side", SIDES)
def test_relevant_and_irrelevant_passages_become_positive_and_first_negatives(rated: Any, side: Side) -> None:
    question = f"What must be lubricated soon, people of the {side} side ask?"
    hits = hits_on(rated, side, "lubricated")
    answer = answered(rated, hits, question, "Everything. [1]")
    rated.runtime.conversations.rate(rated.me, answer, -1, relevant=[3], irrelevant=[1, 5])
    found = asked(rated.build(), question)
    [row] = found.pop(side)
    assert not any(found.values())
    assert (row.source, row.kind, row.positive_chunk) == ("feedback", "asked", hits[2].chunk_id)
    assert row.positive.endswith(hits[2].text)
    shown = [f"{hit.context}\n{hit.text}" for hit in (hits[0], hits[4])]
    assert [text for text in row.negatives if text in shown] == list(row.negatives[: len(shown)])
    assert len(row.negatives) == 4


def test_a_good_answer_names_its_passage_and_is_learned(rated: Any) -> None:
    hits = hits_on(rated, "train", "calibrated")
    fact = hits[1].text.rpartition("\n")[2].partition(".")[0]
    answer = answered(rated, hits, "When is it calibrated, please?", f"{fact}. [2]", cites=2)
    rated.runtime.conversations.rate(rated.me, answer, 1)
    dataset = rated.build()
    [row] = asked(dataset, "When is it calibrated, please?")["train"]
    assert row.positive_chunk == hits[1].chunk_id
    assert row.answer == f"{fact}."
    [chat] = [
        each for each in dataset.chat("train") if each.source == "feedback" and "please?" in each.messages[1].content
    ]
    assert chat.messages[-1].content == f"{fact}. [2]"


def test_a_correction_is_learned_and_preferred(rated: Any) -> None:
    hits = hits_on(rated, "train", "drained")
    fact = hits[0].text.rpartition("\n")[2].partition(".")[0]
    answer = answered(rated, hits, "When is it drained then?", "Never. [3]")
    rated.runtime.conversations.rate(rated.me, answer, -1, correction=f"{fact}.", relevant=[1])
    dataset = rated.build()
    [pair] = [each for each in dataset.preferences() if "drained then" in each.messages[-1].content]
    assert pair.chosen == f"{fact}. [1]"
    assert pair.rejected == "Never. [3]"
    assert any(each.messages[-1].content == pair.chosen for each in dataset.chat("train"))


def test_a_correction_on_the_test_side_is_not_trained_on(rated: Any) -> None:
    hits = hits_on(rated, "test", "polished")
    answer = answered(rated, hits, "When is it polished at last?", "Never. [1]")
    rated.runtime.conversations.rate(rated.me, answer, -1, correction="It is polished at once.", relevant=[1])
    dataset = rated.build()
    assert not [each for each in dataset.preferences() if "polished at last" in each.messages[-1].content]
    assert not [each for each in dataset.chat("train") if "polished at last" in each.messages[1].content]
    assert asked(dataset, "When is it polished at last?")["test"]


def test_of_two_answers_to_one_question_the_better_is_preferred(rated: Any) -> None:
    hits = hits_on(rated, "train", "tightened")
    fact = hits[0].text.rpartition("\n")[2].partition(".")[0]
    good = answered(rated, hits, "When is it tightened again?", f"{fact}. [1]")
    bad = answered(rated, list(reversed(hits)), "When is it  TIGHTENED again?", "Tomorrow. [5]")
    rated.runtime.conversations.rate(rated.me, good, 1)
    rated.runtime.conversations.rate(rated.me, bad, -1)
    [pair] = [each for each in rated.build().preferences() if "tightened again" in each.messages[-1].content]
    # The bad one's fifth passage is the good one's first.
    assert (pair.chosen, pair.rejected) == (f"{fact}. [1]", "Tomorrow. [1]")


def test_feedback_on_what_is_gone_is_counted_and_left_out(rated: Any) -> None:
    hits = hits_on(rated, "train", "inspected")
    answer = answered(rated, hits, "When is it inspected, if ever?", "Now. [1]")
    with rated.runtime.database.transaction() as session:
        row = session.get_one(AnswerRow, answer)
        record = dict(row.record)
        record["passages"] = [{**each, "document_sha256": "0" * 64} for each in record["passages"]]
        row.record = record
    rated.runtime.conversations.rate(rated.me, answer, 1)
    dataset = rated.build()
    assert not any(asked(dataset, "When is it inspected, if ever?").values())
    assert dataset.card.dropped["feedback_without_its_passages"] >= 1


def test_other_collections_feedback_stays_there(rated: Any) -> None:
    other = rated.runtime.library.create_collection(rated.me, "elsewhere")
    hits = hits_on(rated, "train", "replaced")
    answer = answered(rated, hits, "What is replaced elsewhere?", "All. [1]")
    with rated.runtime.database.transaction() as session:
        session.get_one(AnswerRow, answer).collection_id = other.id
    rated.runtime.conversations.rate(rated.me, answer, 1)
    assert not any(asked(rated.build(), "What is replaced elsewhere?").values())


def test_nobody_rates_the_answer_of_somebody_else(rated: Any) -> None:
    from keepstone.platform.errors import NotFound

    answer = answered(rated, hits_on(rated, "train", "cleaned"), "Whose answer is this?", "Mine. [1]")
    with pytest.raises(NotFound):
        rated.runtime.conversations.rate(someone(rated.runtime, "eve"), answer, -1, correction="Eve's.")

"""Held-out questions and answers made by hand."""

from __future__ import annotations

from keepstone.agents.types import Answer, Claim, Outcome, Passage
from keepstone.training.evaluate.held_out import HeldOut
from tests.agents.passages import make_passage

QUESTION = HeldOut(
    id="q1",
    question="How long does the warranty of the pump last?",
    answer="two years",
    language="en",
    chunk_id=1,
    document_id="doc_1",
    document="a" * 64,
    start=0,
    end=60,
)


def make_answer(content: str, *cited: int, outcome: Outcome = "answered") -> Answer:
    """Return an answer from three passages, one of each document, with a claim for each citation.

    The first passage is the one that answers `QUESTION`.
    """
    passages: tuple[Passage, ...] = tuple(
        make_passage(number, "The warranty of the pump lasts two years from delivery.") for number in (1, 2, 3)
    )
    claims = tuple(
        Claim(0, len(content), citation=number, support=1.0, quote_start=0, quote_end=30) for number in cited
    )
    return Answer("ans_1", QUESTION.question, QUESTION.question, content, outcome, passages, claims, {})

"""Candidates for questions, and the checks of form and content that those of a model must pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from keepstone.agents.sentences import plain
from keepstone.agents.support import SUPPORTED, Evidence
from keepstone.agents.types import Passage
from keepstone.retrieval.analysis import tokens
from keepstone.retrieval.language import detect_language
from keepstone.training.data.corpus import SourcePassage
from keepstone.training.data.rows import Kind

Fault = Literal[
    "unreadable_reply",
    "not_a_question",
    "speaks_of_the_passage",
    "other_language",
    "answer_not_in_passage",
    "question_holds_answer",
    "question_repeats_passage",
    "passage_not_found_again",
    "nothing_to_ask",
    "near_duplicate_question",
    "changed_meanwhile",
]
"""Why a candidate was dropped."""

_SPEAKS_OF_ITSELF = re.compile(
    r"\b(?:passage|excerpt|paragraph|(?:this|the|above|given) (?:text|document|article|section|sentence|table))\b"
    r"|(?:本文|文中|文章|这段|该段|上文|段落|原文)",
    re.IGNORECASE,
)
_ASKS = re.compile(r"[?？]\s*$")
_LEAST_WORDS = 3
# A question that takes over so much of a sentence of the passage is found by its words alone, and teaches nothing.
_REPEATED = 0.9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question that may become a row."""

    kind: Kind
    question: str
    answer: str
    source: SourcePassage
    positive: str
    """The passage as it is to be encoded."""


def as_passage(source: SourcePassage, collection_id: str, number: int = 1) -> Passage:
    """Return a passage as answering takes it."""
    return Passage(number, source.hit(collection_id), source.text)


def fault_of(candidate: Candidate, passage: Passage) -> Fault | None:
    """Return what is wrong with a question and answer that a model wrote about a passage; None if nothing is."""
    faults: dict[Fault, Callable[[Candidate, Passage], bool]] = {
        "not_a_question": _asks_nothing,
        "speaks_of_the_passage": lambda each, _: bool(_SPEAKS_OF_ITSELF.search(each.question)),
        "other_language": _is_in_another_language,
        "answer_not_in_passage": _answers_from_elsewhere,
        "question_holds_answer": lambda each, _: set(tokens(each.answer)) <= set(tokens(each.question)),
        "question_repeats_passage": _repeats,
    }
    return next((fault for fault, found in faults.items() if found(candidate, passage)), None)


def _asks_nothing(candidate: Candidate, passage: Passage) -> bool:
    del passage
    return not _ASKS.search(candidate.question) or len(set(tokens(candidate.question))) < _LEAST_WORDS


def _is_in_another_language(candidate: Candidate, passage: Passage) -> bool:
    del passage
    told, wanted = detect_language(candidate.question), candidate.source.language
    return bool(told and wanted and told != wanted)


def _answers_from_elsewhere(candidate: Candidate, passage: Passage) -> bool:
    support = Evidence((passage,)).best(candidate.answer)
    return support is None or support.score < SUPPORTED


def _repeats(candidate: Candidate, passage: Passage) -> bool:
    """Tell whether the question is a sentence of the passage with a question mark behind it."""
    own = list(pairwise(tokens(candidate.question)))
    if len(own) < 2 * _LEAST_WORDS:
        return False
    pairs = set(pairwise(tokens(plain(passage.text))))
    return sum(pair in pairs for pair in own) >= _REPEATED * len(own)

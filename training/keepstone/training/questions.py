"""Questions with known answers, and how an answer of the pipeline is judged by them.

The file format is that of `examples/questions.jsonl`: one JSON object per line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from keepstone.platform.errors import InvalidInput

_NOISE = re.compile(r"[\s|*`#>\\_~\"'“”‘’:;-]+")


class Question(BaseModel):
    """A question and, where the documents hold it, its answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str
    question: str
    language: str
    answerable: bool
    answer: str | None = None
    """Short gold answer."""
    document: str | None = None
    """Name of the document that holds it."""
    passage: str | None = None
    """A verbatim stretch of that document which holds the answer."""
    split: Literal["train", "test"]

    @model_validator(mode="after")
    def _check(self) -> Question:
        if self.answerable and not (self.document and self.passage):
            raise ValueError(f"question {self.id} is answerable but names no document and passage")
        return self


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage that an answer was shown or cites."""

    document: str
    """Name of its document."""
    text: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """How the pipeline did on one question."""

    question_id: str
    answerable: bool
    found: bool
    """Whether the expected passage was among those found."""
    cited: bool
    """Whether the answer cites the expected passage."""
    declined: bool


def load_questions(path: Path) -> list[Question]:
    """Read a questions file.

    Raises:
        InvalidInput: a line is not a question; the message names it.
    """
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            questions.append(Question.model_validate_json(line))
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise InvalidInput(f"{path.name}, line {number}: {reason}", fix="Mend that line") from error
    return questions


def holds_passage(question: Question, evidence: Evidence) -> bool:
    """Tell whether a piece of evidence holds the expected passage; white space, case and markup do not matter."""
    if not question.passage or Path(evidence.document).name != question.document:
        return False
    return _bare(question.passage) in _bare(evidence.text)


def judge(question: Question, *, found: Sequence[Evidence], cited: Iterable[Evidence], declined: bool) -> Judgement:
    """Judge one answer.

    Args:
        question: what was asked.
        found: the passages that search put first, as many as count.
        cited: the passages that the answer cites.
        declined: whether it said that the documents do not hold the answer.
    """
    return Judgement(
        question_id=question.id,
        answerable=question.answerable,
        found=any(holds_passage(question, each) for each in found),
        cited=not declined and any(holds_passage(question, each) for each in cited),
        declined=declined,
    )


def totals(judgements: Sequence[Judgement]) -> dict[str, int]:
    """Count what the judgements of many questions say."""
    answerable = [each for each in judgements if each.answerable]
    unanswerable = [each for each in judgements if not each.answerable]
    return {
        "answerable": len(answerable),
        "unanswerable": len(unanswerable),
        "expected_passage_found": sum(each.found for each in answerable),
        "expected_passage_cited": sum(each.cited for each in answerable),
        "unanswerable_declined": sum(each.declined for each in unanswerable),
        "answerable_declined": sum(each.declined for each in answerable),
    }


def _bare(text: str) -> str:
    return _NOISE.sub("", unicodedata.normalize("NFKC", text)).casefold()

"""Rows from what people thought of answers: relevant and irrelevant passages, corrections, better and worse answers.

Only answers from this collection alone count, and of them only what the corpus of the build still holds unchanged. A
row stands on the side of the split where the document of its relevant passage is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.agents.checking import StreamChecker
from keepstone.agents.support import Evidence
from keepstone.agents.types import Passage
from keepstone.platform.database.tables import AnswerRow, FeedbackRow
from keepstone.training.data.corpus import SourcePassage
from keepstone.training.data.exchanges import chat_row, prompt_messages, renumbered, without_marks
from keepstone.training.data.mining import overlaps
from keepstone.training.data.rows import ChatRow, PreferenceRow, row_id

_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a person with the passage that was relevant to it."""

    question: str
    answer: str
    """Without citation marks; empty where only passages were named."""
    source: SourcePassage
    irrelevant: tuple[SourcePassage, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """What one person's feedback on one answer yields."""

    asked: Asked | None
    chat: ChatRow | None
    preference: PreferenceRow | None
    chunks: tuple[int, ...]
    """Of the passages in its prompt."""


@dataclass(frozen=True, slots=True)
class _Opinion:
    """Feedback on an answer, with the passages of its prompt that the corpus holds, on one side of the split."""

    rating: int
    correction: str
    question: str
    content: str
    answered: bool
    shown: Mapping[int, SourcePassage]
    """By the number under which the answer cites it."""
    relevant: tuple[int, ...]
    irrelevant: tuple[int, ...]

    @property
    def source(self) -> SourcePassage | None:
        """The first relevant passage."""
        return self.shown[self.relevant[0]] if self.relevant else None

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The passages of the prompt, numbered anew."""
        return tuple(Passage(n, each.hit(""), each.text) for n, each in enumerate(self.shown.values(), 1))

    @property
    def numbers(self) -> dict[int, int]:
        """The new number of each passage, by the one that it had."""
        return {old: new for new, old in enumerate(self.shown, 1)}


def read_feedback(
    session: Session, collection_id: str, by_chunk: Mapping[int, SourcePassage]
) -> tuple[list[Judged], Counter[str]]:
    """Return what feedback yields, in an order that depends on its content alone, and why some yields nothing."""
    query = (
        sa.select(FeedbackRow, AnswerRow)
        .join(AnswerRow, AnswerRow.id == FeedbackRow.answer_id)
        .where(AnswerRow.collection_id == collection_id)
        .order_by(FeedbackRow.created_at.desc(), FeedbackRow.id)
        .limit(_MOST)
    )
    opinions: list[_Opinion] = []
    dropped: Counter[str] = Counter()
    for feedback, answer in session.execute(query):
        opinion = _opinion(feedback, answer, by_chunk)
        if opinion is None:
            dropped["feedback_without_its_passages"] += 1
        else:
            opinions.append(opinion)
    opinions.sort(key=lambda each: row_id(each.question, each.content, each.correction, each.rating))
    judged = [_judged(each) for each in opinions]
    judged += [Judged(None, None, pair, chunks) for pair, chunks in _pairs(opinions)]
    return judged, dropped


def _opinion(feedback: FeedbackRow, answer: AnswerRow, by_chunk: Mapping[int, SourcePassage]) -> _Opinion | None:
    record: Mapping[str, Any] = answer.record
    found: dict[int, SourcePassage] = {}
    for each in record.get("passages", ()):
        source = by_chunk.get(each["chunk_id"])
        if source is not None and (source.document, source.start) == (each["document_sha256"], each["start"]):
            found[int(each["number"])] = source
    cited = [claim["citation"] for claim in record.get("claims", ()) if claim.get("citation") is not None]
    relevant = feedback.relevant or (cited if feedback.rating > 0 and answer.outcome == "answered" else [])
    relevant = [number for number in dict.fromkeys(relevant) if number in found and number not in feedback.irrelevant]
    if not found or not answer.standalone_question.strip():
        return None
    # What is judged decides on which side of the split all of it stands.
    side = found[relevant[0]].side if relevant else next(iter(found.values())).side
    shown = {number: source for number, source in found.items() if source.side == side}
    return _Opinion(
        rating=feedback.rating,
        correction=feedback.correction.strip(),
        question=answer.standalone_question.strip(),
        content=answer.content,
        answered=answer.outcome == "answered",
        shown=shown,
        relevant=tuple(number for number in relevant if number in shown),
        irrelevant=tuple(number for number in dict.fromkeys(feedback.irrelevant) if number in shown),
    )


def _judged(opinion: _Opinion) -> Judged:
    source = opinion.source
    wanted = _wanted(opinion)
    asked = chat = preference = None
    if source is not None:
        irrelevant = tuple(
            each
            for each in (opinion.shown[number] for number in opinion.irrelevant)
            if each.group != source.group and not overlaps(each, source)
        )
        asked = Asked(opinion.question, without_marks(wanted), source, irrelevant)
        if wanted:
            chat = chat_row(opinion.question, opinion.passages, wanted, source.document, "feedback")
    if opinion.correction and opinion.rating < 0 and opinion.answered and _side(opinion) == "train":
        preference = _preference(opinion, wanted, renumbered(opinion.content, opinion.numbers))
    return Judged(asked, chat, preference, _chunks(opinion))


def _wanted(opinion: _Opinion) -> str:
    """Return the answer that people want, its marks set by the check that answers go through; empty if unknown."""
    if opinion.correction:
        checker = StreamChecker(Evidence(opinion.passages, opinion.question))
        checker.feed(opinion.correction)
        checker.finish()
        return checker.content.strip()
    if opinion.rating > 0 and opinion.answered:
        return renumbered(opinion.content, opinion.numbers).strip()
    return ""


def _pairs(opinions: Sequence[_Opinion]) -> Iterator[tuple[PreferenceRow, tuple[int, ...]]]:
    """Yield pairs of a good and a bad answer to the same question, under the prompt of the good one."""
    by_question: defaultdict[str, list[_Opinion]] = defaultdict(list)
    for each in opinions:
        if each.answered and _side(each) == "train":
            by_question[" ".join(each.question.casefold().split())].append(each)
    for asked in by_question.values():
        good = next((each for each in asked if each.rating > 0), None)
        for bad in asked:
            if good is None or bad.rating >= 0 or bad.correction:
                continue
            places = {source.chunk_id: number for number, source in enumerate(good.shown.values(), 1)}
            numbers = {old: places[each.chunk_id] for old, each in bad.shown.items() if each.chunk_id in places}
            pair = _preference(good, _wanted(good), renumbered(bad.content, numbers))
            if pair is not None:
                yield pair, _chunks(good)


def _preference(opinion: _Opinion, chosen: str, rejected: str) -> PreferenceRow | None:
    if not chosen or without_marks(chosen) == without_marks(rejected):
        return None
    messages = prompt_messages(opinion.question, opinion.passages)
    name = row_id("preference", *(message.content for message in messages), chosen, rejected)
    return PreferenceRow(id=name, messages=messages, chosen=chosen, rejected=rejected.strip())


def _side(opinion: _Opinion) -> str:
    return next(iter(opinion.shown.values())).side


def _chunks(opinion: _Opinion) -> tuple[int, ...]:
    return tuple(each.chunk_id for each in opinion.shown.values())

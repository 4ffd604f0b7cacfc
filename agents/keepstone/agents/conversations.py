"""Conversations and feedback. A conversation belongs to one principal, and nobody else may read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.access import Principal, authorize, find_collection
from keepstone.platform.database import Database
from keepstone.platform.database.tables import (
    AgentCheckpointRow,
    AgentRunRow,
    AnswerRow,
    ConversationRow,
    FeedbackRow,
    MessageRow,
    utc_now,
)
from keepstone.platform.errors import InvalidInput, NotFound

Mark = Literal[1, -1]
"""Of a passage: that it holds the answer, or that it has nothing to do with the question."""
_TITLE_LENGTH = 60
# PostgreSQL keeps none in a text.
_NUL = "\0"


@dataclass(frozen=True, slots=True)
class ConversationInfo:
    """A conversation in a list."""

    id: str
    collection_id: str | None
    title: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One turn, with the provenance record and rating of the answer it shows."""

    id: str
    role: Literal["user", "assistant"]
    content: str
    answer_id: str | None
    record: dict[str, Any] | None
    rating: int | None
    marks: Mapping[int, Mark] = field(default_factory=dict)
    """What its reader said of the passages, by their numbers."""


class Conversations:
    """The conversations of an installation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, principal: Principal, collection: str | None, first_question: str) -> ConversationInfo:
        """Begin a conversation, titled after its first question."""
        with self._database.transaction() as session:
            collection_id = find_collection(session, principal, collection).id if collection else None
            principal.needs_scope("read")
            row = ConversationRow(principal_id=principal.id, collection_id=collection_id, title=_title(first_question))
            session.add(row)
            session.flush()
            return _info(row)

    def recent(self, principal: Principal, limit: int = 50) -> list[ConversationInfo]:
        """Return the principal's conversations, the latest first."""
        principal.needs_scope("read")
        with self._database.reading() as session:
            query = (
                sa.select(ConversationRow)
                .where(ConversationRow.principal_id == principal.id)
                .order_by(ConversationRow.updated_at.desc())
                .limit(limit)
            )
            return [_info(row) for row in session.scalars(query)]

    def messages(self, principal: Principal, conversation_id: str) -> list[StoredMessage]:
        """Return the turns of a conversation in order."""
        with self._database.reading() as session:
            _find(session, principal, conversation_id)
            query = (
                sa.select(MessageRow, AnswerRow, FeedbackRow)
                .outerjoin(AnswerRow, AnswerRow.id == MessageRow.answer_id)
                .outerjoin(
                    FeedbackRow,
                    (FeedbackRow.answer_id == AnswerRow.id) & (FeedbackRow.principal_id == principal.id),
                )
                .where(MessageRow.conversation_id == conversation_id)
                .order_by(MessageRow.ordinal)
            )
            return [_message(message, answer, feedback) for message, answer, feedback in session.execute(query)]

    def append(
        self,
        principal: Principal,
        conversation_id: str,
        role: Literal["user", "assistant"],
        content: str,
        answer_id: str | None = None,
    ) -> None:
        """Add a turn at the end."""
        with self._database.transaction() as session:
            row = _find(session, principal, conversation_id)
            last = session.scalar(
                sa.select(sa.func.max(MessageRow.ordinal)).where(MessageRow.conversation_id == row.id)
            )
            session.add(
                MessageRow(
                    conversation_id=row.id,
                    ordinal=0 if last is None else last + 1,
                    role=role,
                    content=content.replace(_NUL, ""),
                    answer_id=answer_id,
                )
            )
            row.updated_at = utc_now()

    def delete(self, principal: Principal, conversation_id: str) -> None:
        """Remove a conversation with its turns, its answers, the agent's runs that led to them, and feedback."""
        with self._database.transaction() as session:
            row = _find(session, principal, conversation_id)
            turns = MessageRow.conversation_id == row.id
            answers = sa.select(MessageRow.answer_id).where(turns, MessageRow.answer_id.is_not(None))
            session.execute(sa.delete(FeedbackRow).where(FeedbackRow.answer_id.in_(answers)))
            runs = sa.select(AgentRunRow.id).where(AgentRunRow.answer_id.in_(answers))
            session.execute(sa.delete(AgentCheckpointRow).where(AgentCheckpointRow.run_id.in_(runs)))
            session.execute(sa.delete(AgentRunRow).where(AgentRunRow.answer_id.in_(answers)))
            session.execute(sa.delete(AnswerRow).where(AnswerRow.id.in_(answers)))
            session.execute(sa.delete(MessageRow).where(turns))
            session.delete(row)

    def rate(
        self,
        principal: Principal,
        answer_id: str,
        rating: int,
        comment: str = "",
        *,
        correction: str = "",
        relevant: Sequence[int] | None = None,
        irrelevant: Sequence[int] | None = None,
    ) -> None:
        """Say that an answer was good (1) or bad (-1); a later rating replaces an earlier one, 0 takes it back.

        Args:
            principal: whose answer it is.
            answer_id: which.
            rating: 1, -1 or 0.
            comment: in free words.
            correction: what the answer should have been.
            relevant: numbers of passages, as the answer cites them, that hold the answer; None: as marked before.
            irrelevant: numbers of passages that have nothing to do with the question; None: as marked before.

        Raises:
            InvalidInput: there is no such rating, or the answer was shown no such passage.
            NotFound: there is no such answer, or it is somebody else's.
        """
        if rating not in (-1, 0, 1):
            raise InvalidInput(f"A rating cannot be {rating}", fix="Use 1 for good, -1 for bad, 0 to take it back")
        with self._database.transaction() as session:
            answer, former = _mine(session, principal, answer_id)
            relevant = (former.relevant if former else []) if relevant is None else relevant
            irrelevant = (former.irrelevant if former else []) if irrelevant is None else irrelevant
            _check_passages(answer, relevant, irrelevant)
            if former is not None:
                session.delete(former)
                session.flush()
            if rating or relevant or irrelevant:
                session.add(
                    FeedbackRow(
                        answer_id=answer_id,
                        principal_id=principal.id,
                        rating=rating,
                        comment=comment.replace(_NUL, ""),
                        correction=correction.replace(_NUL, "").strip(),
                        relevant=sorted(set(relevant)),
                        irrelevant=sorted(set(irrelevant)),
                    )
                )

    def mark(self, principal: Principal, answer_id: str, passage: int, mark: Mark | Literal[0]) -> None:
        """Say of a passage that an answer was shown whether it holds the answer; what was said of it before goes.

        Args:
            principal: whose answer it is.
            answer_id: which.
            passage: its number, as the answer cites it.
            mark: 1 where it does, -1 where it has nothing to do with the question, 0 to take back what was said.

        Raises:
            InvalidInput: the answer was shown no such passage.
            NotFound: there is no such answer, or it is somebody else's.
        """
        with self._database.transaction() as session:
            answer, feedback = _mine(session, principal, answer_id)
            _check_passages(answer, [passage], [])
            if feedback is None:
                feedback = FeedbackRow(answer_id=answer_id, principal_id=principal.id, rating=0)
                feedback.relevant, feedback.irrelevant = [], []
                session.add(feedback)
            feedback.relevant = _with(feedback.relevant, passage, present=mark > 0)
            feedback.irrelevant = _with(feedback.irrelevant, passage, present=mark < 0)
            if not (feedback.rating or feedback.relevant or feedback.irrelevant):
                session.flush()
                session.delete(feedback)

    def provenance(self, principal: Principal, answer_id: str) -> dict[str, Any]:
        """Return the stored record of what made an answer."""
        with self._database.reading() as session:
            answer = session.get(AnswerRow, answer_id)
            if answer is None:
                raise NotFound(f"No answer {answer_id!r}")
            authorize(session, principal, "read", answer)
            return {
                "id": answer.id,
                "question": answer.question,
                "standalone_question": answer.standalone_question,
                "content": answer.content,
                "outcome": answer.outcome,
                "created_at": answer.created_at.isoformat(),
                **answer.record,
            }


def _find(session: Session, principal: Principal, conversation_id: str) -> ConversationRow:
    row = session.get(ConversationRow, conversation_id)
    if row is None or row.principal_id != principal.id:
        raise NotFound(f"No conversation {conversation_id!r}", fix="It may have been deleted; start a new one")
    authorize(session, principal, "write", row)
    return row


def _info(row: ConversationRow) -> ConversationInfo:
    return ConversationInfo(id=row.id, collection_id=row.collection_id, title=row.title, updated_at=row.updated_at)


def _mine(session: Session, principal: Principal, answer_id: str) -> tuple[AnswerRow, FeedbackRow | None]:
    """Return an answer of this principal, and what they thought of it."""
    answer = session.get(AnswerRow, answer_id)
    if answer is None or answer.principal_id != principal.id:
        raise NotFound(f"No answer {answer_id!r}")
    # Saying what one thought is part of reading.
    principal.needs_scope("read")
    theirs = (FeedbackRow.answer_id == answer_id, FeedbackRow.principal_id == principal.id)
    return answer, session.scalar(sa.select(FeedbackRow).where(*theirs))


def _with(numbers: Sequence[int], number: int, *, present: bool) -> list[int]:
    return sorted({*numbers, number}) if present else [each for each in numbers if each != number]


def _message(message: MessageRow, answer: AnswerRow | None, feedback: FeedbackRow | None) -> StoredMessage:
    marks: dict[int, Mark] = {}
    if feedback is not None:
        marks |= dict.fromkeys(feedback.relevant, 1) | dict.fromkeys(feedback.irrelevant, -1)
    return StoredMessage(
        id=message.id,
        role="user" if message.role == "user" else "assistant",
        content=message.content,
        answer_id=message.answer_id,
        record=answer.record if answer else None,
        rating=(feedback.rating or None) if feedback else None,
        marks=marks,
    )


def _check_passages(answer: AnswerRow, relevant: Sequence[int], irrelevant: Sequence[int]) -> None:
    """Raise `InvalidInput` for passages that the answer was not shown, or that are called both."""
    shown = sorted(each["number"] for each in answer.record.get("passages", ()))
    unknown = sorted({*relevant, *irrelevant}.difference(shown))
    if unknown:
        valid = f"Its passages: {', '.join(map(str, shown))}" if shown else "It has none; leave them out"
        raise InvalidInput(f"This answer has no passage {unknown[0]}", fix=valid)
    both = sorted(set(relevant).intersection(irrelevant))
    if both:
        raise InvalidInput(f"Passage {both[0]} cannot be both relevant and irrelevant", fix="Name it once")


def _title(question: str) -> str:
    flat = " ".join(question.replace(_NUL, "").split())
    return flat if len(flat) <= _TITLE_LENGTH else flat[: _TITLE_LENGTH - 1] + "…"

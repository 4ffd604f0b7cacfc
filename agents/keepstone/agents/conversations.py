"""Conversations and feedback. A conversation belongs to one principal, and nobody else may read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
                sa.select(MessageRow, AnswerRow, FeedbackRow.rating)
                .outerjoin(AnswerRow, AnswerRow.id == MessageRow.answer_id)
                .outerjoin(
                    FeedbackRow,
                    (FeedbackRow.answer_id == AnswerRow.id) & (FeedbackRow.principal_id == principal.id),
                )
                .where(MessageRow.conversation_id == conversation_id)
                .order_by(MessageRow.ordinal)
            )
            return [_message(message, answer, rating) for message, answer, rating in session.execute(query)]

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
        relevant: Sequence[int] = (),
        irrelevant: Sequence[int] = (),
    ) -> None:
        """Say that an answer was good (1) or bad (-1); a later rating replaces an earlier one, 0 takes it back.

        Args:
            principal: whose answer it is.
            answer_id: which.
            rating: 1, -1 or 0.
            comment: in free words.
            correction: what the answer should have been.
            relevant: numbers of passages, as the answer cites them, that hold the answer.
            irrelevant: numbers of passages that have nothing to do with the question.

        Raises:
            InvalidInput: there is no such rating, or the answer was shown no such passage.
            NotFound: there is no such answer, or it is somebody else's.
        """
        if rating not in (-1, 0, 1):
            raise InvalidInput(f"A rating cannot be {rating}", fix="Use 1 for good, -1 for bad, 0 to take it back")
        with self._database.transaction() as session:
            answer = session.get(AnswerRow, answer_id)
            if answer is None or answer.principal_id != principal.id:
                raise NotFound(f"No answer {answer_id!r}")
            _check_passages(answer, relevant, irrelevant)
            mine = (FeedbackRow.answer_id == answer_id, FeedbackRow.principal_id == principal.id)
            session.execute(sa.delete(FeedbackRow).where(*mine))
            if rating:
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


def _message(message: MessageRow, answer: AnswerRow | None, rating: int | None) -> StoredMessage:
    return StoredMessage(
        id=message.id,
        role="user" if message.role == "user" else "assistant",
        content=message.content,
        answer_id=message.answer_id,
        record=answer.record if answer else None,
        rating=rating,
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

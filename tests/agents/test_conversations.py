"""What is said must be kept on every database, and go when it is deleted."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from keepstone.agents.conversations import Conversations
from keepstone.platform.access import Principal
from keepstone.platform.accounts import SCOPES, ensure_local_admin
from keepstone.platform.database import Database
from keepstone.platform.database.tables import AnswerRow, ConversationRow, FeedbackRow, MessageRow
from keepstone.platform.errors import Forbidden, InvalidInput

_TABLES = (ConversationRow, MessageRow, AnswerRow, FeedbackRow)


@pytest.fixture
def database(both_urls: str) -> Iterator[Database]:
    database = Database(both_urls)
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def me(database: Database) -> Principal:
    with database.transaction() as session:
        row = ensure_local_admin(session)
        return Principal(row.id, row.name, is_admin=True, scopes=frozenset(SCOPES))


def test_a_text_with_nul_is_kept_without_it(database: Database, me: Principal) -> None:
    conversations = Conversations(database)
    begun = conversations.start(me, None, "How\0 long?")
    conversations.append(me, begun.id, "user", "How\0 long?")
    assert begun.title == "How long?"
    assert [message.content for message in conversations.messages(me, begun.id)] == ["How long?"]


def test_passages_are_marked_whatever_is_thought_of_the_answer(database: Database, me: Principal) -> None:
    """A thumb on the answer leaves the marks, and the marks leave the thumb."""
    conversations = Conversations(database)
    begun = conversations.start(me, None, "How long?")
    with database.transaction() as session:
        record = {"passages": [{"number": 1}, {"number": 2}]}
        answer = AnswerRow(
            principal_id=me.id, question="q", standalone_question="q", content="a", outcome="answered", record=record
        )
        session.add(answer)
        session.flush()
        answer_id = answer.id
    conversations.append(me, begun.id, "assistant", "a", answer_id)

    def thought() -> tuple[int | None, dict[int, int]]:
        [message] = conversations.messages(me, begun.id)
        return message.rating, dict(message.marks)

    conversations.mark(me, answer_id, 1, 0)
    assert thought() == (None, {})
    conversations.mark(me, answer_id, 1, 1)
    conversations.mark(me, answer_id, 2, 1)
    conversations.mark(me, answer_id, 2, -1)
    assert thought() == (None, {1: 1, 2: -1})
    conversations.rate(me, answer_id, 1)
    assert thought() == (1, {1: 1, 2: -1})
    conversations.rate(me, answer_id, 0)
    assert thought() == (None, {1: 1, 2: -1})
    conversations.mark(me, answer_id, 1, 0)
    conversations.mark(me, answer_id, 2, 0)
    with database.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(FeedbackRow)) == 0
    with pytest.raises(InvalidInput):
        conversations.mark(me, answer_id, 3, 1)
    conversations.rate(me, answer_id, 1, relevant=[1])
    conversations.rate(me, answer_id, -1, relevant=[])
    assert thought() == (-1, {})


def test_a_deleted_conversation_takes_its_answers_and_ratings_along(database: Database, me: Principal) -> None:
    conversations = Conversations(database)
    kept, gone = (conversations.start(me, None, name) for name in ("kept", "gone"))
    for begun in (kept, gone):
        with database.transaction() as session:
            answer = AnswerRow(
                principal_id=me.id, question="q", standalone_question="q", content="a", outcome="answered", record={}
            )
            session.add(answer)
            session.flush()
            answer_id = answer.id
        conversations.append(me, begun.id, "assistant", "a", answer_id)
        conversations.rate(me, answer_id, 1)
    conversations.delete(me, gone.id)
    with database.reading() as session:
        left = [session.scalar(sa.select(sa.func.count()).select_from(table)) for table in _TABLES]
    assert left == [1, 1, 1, 1]


def test_a_credential_that_may_not_read_sees_no_titles_and_rates_nothing(database: Database, me: Principal) -> None:
    conversations = Conversations(database)
    conversations.start(me, None, "How long?")
    with database.transaction() as session:
        answer = AnswerRow(
            principal_id=me.id, question="q", standalone_question="q", content="a", outcome="answered", record={}
        )
        session.add(answer)
        session.flush()
        answer_id = answer.id
    writing = replace(me, scopes=frozenset({"write"}))
    with pytest.raises(Forbidden):
        conversations.recent(writing)
    with pytest.raises(Forbidden):
        conversations.rate(writing, answer_id, 1)
    with pytest.raises(Forbidden):
        conversations.mark(writing, answer_id, 1, 0)

"""What is said must be kept, on every database."""

from keepstone.agents.conversations import Conversations
from keepstone.platform.access import Principal
from keepstone.platform.accounts import SCOPES, ensure_local_admin
from keepstone.platform.database import Database


def test_a_text_with_nul_is_kept_without_it(both_urls: str) -> None:
    database = Database(both_urls)
    database.upgrade()
    with database.transaction() as session:
        row = ensure_local_admin(session)
        me = Principal(row.id, row.name, is_admin=True, scopes=frozenset(SCOPES))
    conversations = Conversations(database)
    begun = conversations.start(me, None, "How\0 long?")
    conversations.append(me, begun.id, "user", "How\0 long?")
    assert begun.title == "How long?"
    assert [message.content for message in conversations.messages(me, begun.id)] == ["How long?"]
    database.close()

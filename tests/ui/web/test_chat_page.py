"""The chat page's handlers: whose conversation it is decides the request alone, and nothing foreign is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
import pytest

from keepstone.platform.access import Principal
from keepstone.platform.errors import Unauthenticated
from keepstone.training.relevance.questions import Item, thumbed
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.chat import ChatPage
from keepstone.ui.web.components import EVERYWHERE
from tests.stack import someone
from tests.ui.web.conftest import COLLECTION, event

ASKED = "How long does the warranty last?"


@pytest.fixture
def page(runtime: Runtime) -> ChatPage:
    return ChatPage(runtime)


async def answered(
    page: ChatPage, request: gr.Request, text: str = ASKED, conversation: str = "", collection: str = EVERYWHERE
) -> list[Any]:
    """Ask, follow to the end, and return conversation id, turns and live part as the page then shows them."""
    _, conversation, turns, live, _ = await page.on_ask(text, collection, conversation, False, request)
    box: Any = None
    async for new_box, new_turns, new_live in page.on_follow(conversation, request):
        box = box if _skipped(new_box) else new_box
        turns = turns if _skipped(new_turns) else new_turns
        live = live if _skipped(new_live) else new_live
    assert box["submit_btn"] is True
    return [conversation, turns, live]


def _skipped(value: Any) -> bool:
    return isinstance(value, dict) and "submit_btn" not in value


async def test_a_question_is_answered_with_citations_and_doubts(
    page: ChatPage, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    _, turns, live = await answered(page, asks(ann))
    assert live == ""
    assert ASKED in turns
    assert 'class="cite"' in turns
    assert 'class="unsupported"' in turns
    assert "Warranty.md" in turns
    assert "How was this made?" in turns


def test_coming_back_to_the_page_shows_the_documents_as_they_are_now(
    page: ChatPage, runtime: Runtime, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    """A collection that was made or deleted on the documents page is one to ask, or none any more."""
    made = runtime.library.create_collection(ann, "Made meanwhile").id
    choices, turns = page.on_refresh(made, "", asks(ann))
    assert choices["value"] == made
    assert "no documents here yet" in turns
    runtime.library.delete_collection(ann, made)
    choices, turns = page.on_refresh(made, "", asks(ann))
    assert choices["value"] == EVERYWHERE
    assert made not in dict(choices["choices"]).values()
    assert "documents in all collections" in turns
    _, turns = page.on_refresh(EVERYWHERE, "cnv_open", asks(ann))
    assert _skipped(turns)


async def test_a_reload_shows_the_same_conversation(
    page: ChatPage, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    conversation, turns, _ = await answered(page, asks(ann))
    _, box, opened, reloaded, live, _ = page.on_load(conversation, asks(ann, "another tab"))
    assert (opened, live) == (conversation, "")
    assert box["submit_btn"] is True
    assert reloaded == turns


async def test_follow_up_questions_stay_in_their_conversation(
    page: ChatPage, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    conversation, _, _ = await answered(page, asks(ann))
    again, turns, _ = await answered(page, asks(ann), "And water?", conversation)
    assert again == conversation
    assert turns.index(ASKED) < turns.index("And water?")


async def test_conversations_of_others_look_as_if_they_did_not_exist(
    page: ChatPage, runtime: Runtime, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    conversation, _, _ = await answered(page, asks(ann))
    mallory = asks(someone(runtime, "mallory"))
    with pytest.raises(gr.Error, match="No conversation"):
        page.on_open(mallory, event(id=conversation))
    with pytest.raises(gr.Error, match="No conversation"):
        await page.on_delete(EVERYWHERE, "", mallory, event(id=conversation))
    _, _, opened, turns, _, history = page.on_load(conversation, mallory)
    assert opened == ""
    assert ASKED not in turns + history
    asked_in_it = await page.on_ask("Mine?", EVERYWHERE, conversation, False, mallory)
    assert asked_in_it[1] not in ("", conversation)
    assert ASKED not in asked_in_it[2]


async def test_collections_of_others_are_neither_offered_nor_searched(
    page: ChatPage, runtime: Runtime, asks: Callable[..., gr.Request], ann: Principal
) -> None:
    nobody = someone(runtime, "nobody")
    choices, *_ = page.on_load("", asks(nobody))
    assert choices["choices"] == [("All collections", EVERYWHERE)]
    foreign = runtime.library.collection(ann, COLLECTION).id
    with pytest.raises(gr.Error, match="No collection"):
        await page.on_ask(ASKED, foreign, "", False, asks(nobody))
    _, turns, _ = await answered(page, asks(nobody))
    assert "Warranty.md" not in turns


async def test_a_call_without_a_principal_is_refused(page: ChatPage, asks: Callable[..., gr.Request]) -> None:
    with pytest.raises(gr.Error):
        page.on_load("", asks(None))
    with pytest.raises(Unauthenticated):
        await anext(page.on_follow("cnv_x", asks(None)))


async def test_answers_are_rated_commented_and_unrated(
    page: ChatPage, runtime: Runtime, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    conversation, _, _ = await answered(page, asks(ann))
    answer_id = runtime.conversations.messages(ann, conversation)[-1].answer_id
    bad = page.on_rate(conversation, asks(ann), event(answer=answer_id, rating="-1"))
    assert 'data-event="comment"' in bad
    runtime.conversations.rate(ann, str(answer_id), -1, "It is three years")
    none = page.on_rate(conversation, asks(ann), event(answer=answer_id, rating="0"))
    assert 'data-event="comment"' not in none
    assert runtime.conversations.messages(ann, conversation)[-1].rating is None


async def test_a_source_that_is_marked_is_a_judgement_of_search(
    page: ChatPage, runtime: Runtime, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    """A click on a source is all it takes to have search measured and tuned on one's own questions."""
    collection = runtime.library.collection(ann, COLLECTION).id
    conversation, _, _ = await answered(page, asks(ann), collection=collection)
    message = runtime.conversations.messages(ann, conversation)[-1]
    assert message.record is not None
    first = message.record["passages"][0]
    answer = message.answer_id
    marked = page.on_mark(conversation, asks(ann), event(answer=answer, number=first["number"], mark="1"))
    assert 'aria-pressed="true"' in marked
    with runtime.database.reading() as session:
        found, _ = thumbed(session, collection)
    items = [item for each in found for item in each.items]
    assert Item(first["document_id"], first["start"], first["end"]) in items
    page.on_mark(conversation, asks(ann), event(answer=answer, number=first["number"], mark="-1"))
    with runtime.database.reading() as session:
        assert Item(first["document_id"], first["start"], first["end"]) not in [
            item for each in thumbed(session, collection)[0] for item in each.items
        ]


async def test_deleting_the_open_conversation_leaves_an_empty_page(
    page: ChatPage, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    conversation, _, _ = await answered(page, asks(ann))
    _, opened, turns, live, history = await page.on_delete(EVERYWHERE, conversation, asks(ann), event(id=conversation))
    assert (opened, live) == ("", "")
    assert "Ask your documents" in turns
    assert conversation not in history


async def test_a_tab_that_shows_another_conversation_is_not_drawn_over(
    page: ChatPage, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    request = asks(ann, "tab 1")
    _, conversation, *_ = await page.on_ask(ASKED, EVERYWHERE, "", False, request)
    page.on_new(EVERYWHERE, request)
    drawn = [each async for each in page.on_follow(conversation, request)]
    assert len(drawn) == 1
    elsewhere = asks(ann, "tab 2")
    page.on_open(elsewhere, event(id=conversation))
    assert len([each async for each in page.on_follow(conversation, elsewhere)]) > 1


async def test_an_unanswered_question_asked_again_stands_there_once(
    page: ChatPage, runtime: Runtime, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    conversation = runtime.conversations.start(ann, None, ASKED).id
    runtime.conversations.append(ann, conversation, "user", ASKED)
    _, _, _, turns, live, _ = page.on_open(asks(ann), event(id=conversation))
    assert turns == ""
    assert "Ask again" in live
    _, turns, _ = await answered(page, asks(ann), ASKED, conversation)
    assert turns.count('<div class="question"') == 1


@pytest.mark.parametrize("text", ["", "   ", "\n"])
async def test_an_empty_question_is_told_and_stored_nowhere(
    page: ChatPage, runtime: Runtime, ann: Principal, asks: Callable[..., gr.Request], text: str
) -> None:
    before = len(runtime.conversations.recent(ann, 1000))
    with pytest.raises(gr.Error, match="no question"):
        await page.on_ask(text, EVERYWHERE, "", False, asks(ann))
    assert len(runtime.conversations.recent(ann, 1000)) == before


async def test_malformed_events_are_told_politely(
    page: ChatPage, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    for data in ({}, {"id": None}, {"id": ["x"]}, {"id": True}):
        with pytest.raises(gr.Error, match="Reload the page"):
            page.on_open(asks(ann), event(**data))

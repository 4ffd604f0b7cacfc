"""An answer under way belongs to its conversation: it outlives the page, can be stopped, and only its owner sees it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable

import pytest

from keepstone.agents.types import AnswerEvent, Searching, TextDelta
from keepstone.platform.access import Principal
from keepstone.platform.errors import Conflict, EngineUnavailable, LimitExceeded
from keepstone.platform.serving.engine import ChatRequest, Delta
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.asking import Asking, Progress, Question
from keepstone.ui.web.thread import render_writing
from keepstone.ui.web.turns import load_turns
from tests.stack import someone
from tests.ui.web.conftest import ANSWER

ASKED = "How long does the warranty last?"


class Gated:
    """An answerer that says one word and waits until it may go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def answer(self, principal: Principal, question: str, **_: object) -> AsyncGenerator[AnswerEvent, None]:
        yield Searching(question)
        yield TextDelta("Well")
        await self.go_on.wait()
        yield TextDelta(", yes")


class Holding(ScriptedEngine):
    """A language model that stops after its first sentence until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def stream_chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        yield Delta("The warranty lasts two years. [1] And then it")
        await self.go_on.wait()
        yield Delta(" ends.", "stop")


@pytest.fixture
def question(runtime: Runtime, ann: Principal) -> Callable[..., Question]:
    """Return a maker of questions, each in a conversation of its own."""

    def make(text: str = ASKED, who: Principal = ann) -> Question:
        conversation = runtime.conversations.start(who, None, text)
        runtime.conversations.append(who, conversation.id, "user", text)
        return Question(who, text, conversation.id, None)

    return make


async def follow(asking: Asking, asked: Question) -> list[Progress]:
    return [each async for each in asking.follow(asked.principal, asked.conversation_id)]


def contents(runtime: Runtime, asked: Question) -> list[str]:
    return [each.content for each in runtime.conversations.messages(asked.principal, asked.conversation_id)]


@pytest.fixture
def gated(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Gated:
    answerer = Gated()
    monkeypatch.setattr(runtime, "answerer", answerer)
    return answerer


async def test_an_answer_is_followed_to_its_end_and_kept(runtime: Runtime, question: Callable[..., Question]) -> None:
    asking, asked = Asking(runtime), question()
    asking.start(asked)
    seen = await follow(asking, asked)
    assert seen[-1].finished
    assert seen[-1].view is not None
    assert seen[-1].view.outcome == "answered"
    assert "two years" in seen[-1].view.content
    assert not asking.is_running(asked.principal.id, asked.conversation_id)
    stored = runtime.conversations.messages(asked.principal, asked.conversation_id)[-1]
    assert (stored.answer_id, stored.content) == (seen[-1].view.id, seen[-1].view.content)


async def test_leaving_the_page_does_not_stop_the_answer(
    runtime: Runtime, question: Callable[..., Question], gated: Gated
) -> None:
    asking, asked = Asking(runtime), question()
    asking.start(asked)
    async for progress in asking.follow(asked.principal, asked.conversation_id):
        if progress.view and progress.view.content:
            break
    gated.go_on.set()
    await follow(asking, asked)
    assert contents(runtime, asked) == [ASKED, "Well, yes"]


async def test_stopping_keeps_what_was_written(
    runtime: Runtime, question: Callable[..., Question], gated: Gated
) -> None:
    asking, asked = Asking(runtime), question()
    asking.start(asked)
    last: Progress | None = None
    async for last in asking.follow(asked.principal, asked.conversation_id):
        if last.view and last.view.content:
            asking.stop(asked.principal, asked.conversation_id)
    assert last is not None
    assert last.view is not None
    assert (last.finished, last.view.outcome, last.view.content) == (True, "stopped", "Well")
    assert contents(runtime, asked) == [ASKED, "Well"]


async def test_a_stopped_answer_keeps_its_record_and_sources(
    runtime: Runtime, question: Callable[..., Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, asked = Asking(runtime), question()
    monkeypatch.setattr(runtime.answerer._writer, "_engine", Holding())
    asking.start(asked)
    async for progress in asking.follow(asked.principal, asked.conversation_id):
        if progress.view and progress.view.content:
            asking.stop(asked.principal, asked.conversation_id)
    stored = runtime.conversations.messages(asked.principal, asked.conversation_id)[-1]
    assert stored.answer_id
    assert runtime.conversations.provenance(asked.principal, stored.answer_id)["outcome"] == "stopped"
    turns = load_turns(runtime.conversations, runtime.library, runtime.agent, asked.principal, asked.conversation_id)
    assert turns[-1].answer is not None
    assert turns[-1].answer.cited[0].document_name == "Warranty.md"


async def test_a_citation_has_its_quote_while_the_answer_is_still_written(
    runtime: Runtime, question: Callable[..., Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever clicks it then sees the words that support the sentence marked in the passage."""
    asking, asked = Asking(runtime), question()
    engine = Holding()
    monkeypatch.setattr(runtime.answerer._writer, "_engine", engine)
    asking.start(asked)
    async for progress in asking.follow(asked.principal, asked.conversation_id):
        if progress.view and "[1]" in progress.view.content:
            break
    assert not progress.finished
    assert progress.view is not None
    shown = str(render_writing(ASKED, progress.view))
    quoted = re.search(r'data-quote-start="(\d+)" data-quote-end="(\d+)"', shown)
    assert quoted
    source = progress.view.sources[0]
    text = runtime.library.document_text(asked.principal, source.document_id).text
    assert "two years" in text[int(quoted[1]) : int(quoted[2])]
    assert "unsupported" not in shown
    engine.go_on.set()
    assert (await follow(asking, asked))[-1].finished


async def test_an_answer_whose_conversation_is_deleted_ends_without_a_word(
    runtime: Runtime, question: Callable[..., Question], gated: Gated
) -> None:
    asking, asked = Asking(runtime), question()
    asking.start(asked)
    await anext(asking.follow(asked.principal, asked.conversation_id))
    asking.stop(asked.principal, asked.conversation_id, keep=False)
    runtime.conversations.delete(asked.principal, asked.conversation_id)
    assert await follow(asking, asked) == []


async def test_nobody_else_can_stop_or_follow_an_answer(
    runtime: Runtime, question: Callable[..., Question], gated: Gated
) -> None:
    asking, asked = Asking(runtime), question()
    asking.start(asked)
    mallory = someone(runtime, "mallory")
    asking.stop(mallory, asked.conversation_id)
    assert [each async for each in asking.follow(mallory, asked.conversation_id)] == []
    assert asking.is_running(asked.principal.id, asked.conversation_id)
    gated.go_on.set()
    assert (await follow(asking, asked))[-1].error is None


async def test_one_answer_at_a_time_in_a_conversation_and_few_for_a_person(
    runtime: Runtime, question: Callable[..., Question], gated: Gated
) -> None:
    asking = Asking(runtime)
    under_way = [question() for _ in range(4)]
    for each in under_way:
        asking.start(each)
    with pytest.raises(Conflict):
        asking.start(under_way[0])
    with pytest.raises(LimitExceeded):
        asking.start(question())
    asking.start(question(who=someone(runtime, "eve")))
    gated.go_on.set()
    for each in under_way:
        await follow(asking, each)
    asking.start(question())


async def test_an_engine_that_is_away_becomes_an_error_with_its_fix(
    runtime: Runtime, question: Callable[..., Question], engine: ScriptedEngine
) -> None:
    asking, asked = Asking(runtime), question()
    engine.available = False
    try:
        asking.start(asked)
        end = (await follow(asking, asked))[-1]
    finally:
        engine.available = True
    assert isinstance(end.error, EngineUnavailable)
    assert end.error.fix
    assert contents(runtime, asked) == [ASKED]
    asking.start(asked)
    assert (await follow(asking, asked))[-1].error is None
    assert ANSWER[:10] in contents(runtime, asked)[-1]

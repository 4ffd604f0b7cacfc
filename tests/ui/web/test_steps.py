"""The agent in the chat: its steps are told as they come, kept with the answer, folded, and never more than text."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import pytest
import sqlalchemy as sa

from keepstone.agents.react.types import Called, Observed, Thought
from keepstone.platform.access import Principal
from keepstone.platform.database.tables import AgentRunRow
from keepstone.platform.serving.engine import ChatRequest, Message, Reply
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.asking import Asking, Progress, Question
from keepstone.ui.web.steps import CallView, Steps, StepView, doing, render_queries, render_steps, steps_of, with_event
from keepstone.ui.web.turns import load_turns
from tests.ui.web.conftest import ANSWER

ASKED = "How long does the warranty last?"
READY = json.dumps({"thought": "I have it.", "answer": True})
CALCULATE = json.dumps({"thought": "I add.", "calls": [{"tool": "calculator", "arguments": {"expression": "1 + 1"}}]})


@pytest.fixture
def decisions(engine: ScriptedEngine) -> Iterator[deque[str]]:
    """What the model decides, one after the other; then it is ready."""
    queue: deque[str] = deque()

    def reply(request: ChatRequest) -> str:
        if request.json_schema is None:
            return ANSWER
        return queue.popleft() if queue else READY

    before, engine._default = engine._default, reply
    yield queue
    engine._default = before


def asked_of(runtime: Runtime, who: Principal) -> Question:
    conversation = runtime.conversations.start(who, None, ASKED)
    runtime.conversations.append(who, conversation.id, "user", ASKED)
    return Question(who, ASKED, conversation.id, None, agent=True)


async def followed(asking: Asking, asked: Question) -> AsyncGenerator[Progress, None]:
    async with aclosing(asking.follow(asked.principal, asked.conversation_id)) as progress:
        async for each in progress:
            yield each


async def test_steps_are_told_and_shown_again_with_the_answer(
    runtime: Runtime, ann: Principal, decisions: deque[str]
) -> None:
    decisions.append(CALCULATE)
    asking, asked = Asking(runtime), asked_of(runtime, ann)
    asking.start(asked)
    last = [each async for each in followed(asking, asked)][-1]
    assert last.view is not None
    assert last.view.outcome == "answered"
    assert [step.thought for step in last.view.steps] == [
        "First I search for the question itself.",
        "I add.",
        "I have it.",
    ]
    assert last.view.steps[1].calls == (CallView("calculator", {"expression": "1 + 1"}, "1 + 1 = 2"),)
    turns = load_turns(runtime.conversations, runtime.library, runtime.agent, ann, asked.conversation_id)
    assert turns[-1].answer is not None
    assert turns[-1].answer.steps == last.view.steps
    assert turns[-1].answer.cited


async def test_a_follow_up_is_asked_with_the_conversation(
    runtime: Runtime, ann: Principal, engine: ScriptedEngine, decisions: deque[str]
) -> None:
    asking, asked = Asking(runtime), asked_of(runtime, ann)
    talk = (Message("user", "Is there a warranty?"), Message("assistant", "There is."))
    engine.history.clear()
    asking.start(Question(ann, ASKED, asked.conversation_id, None, talk, agent=True))
    assert [each async for each in followed(asking, asked)][-1].error is None
    decided = next(each for each in engine.history if each.json_schema)
    assert [each.content for each in decided.messages[1:3]] == [each.content for each in talk]


async def test_stopping_cancels_the_run(
    runtime: Runtime, ann: Principal, decisions: deque[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ponder(request: ChatRequest) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(runtime.engine, "chat", ponder)
    asking, asked = Asking(runtime), asked_of(runtime, ann)
    asking.start(asked)
    async for each in followed(asking, asked):
        if each.view and any(call.seen for step in each.view.steps for call in step.calls):
            asking.stop(ann, asked.conversation_id)
    run = runtime.agent.recent(ann, 1)[0]
    assert run.state == "cancelled"
    assert len(runtime.conversations.messages(ann, asked.conversation_id)) == 1


async def test_a_run_that_fails_is_told(
    runtime: Runtime, ann: Principal, decisions: deque[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(request: ChatRequest) -> Reply:
        raise RuntimeError

    monkeypatch.setattr(runtime.engine, "chat", broken)
    asking, asked = Asking(runtime), asked_of(runtime, ann)
    asking.start(asked)
    last = [each async for each in followed(asking, asked)][-1]
    assert last.error is not None
    assert "The run failed" in str(last.error)
    assert last.view is not None
    assert last.view.steps


async def test_a_deleted_conversation_takes_its_runs_along(
    runtime: Runtime, ann: Principal, decisions: deque[str]
) -> None:
    asking, asked = Asking(runtime), asked_of(runtime, ann)
    asking.start(asked)
    last = [each async for each in followed(asking, asked)][-1]
    assert last.view is not None
    runtime.conversations.delete(ann, asked.conversation_id)
    with runtime.database.reading() as session:
        assert session.scalar(sa.select(AgentRunRow.id).where(AgentRunRow.answer_id == last.view.id)) is None


def test_stored_steps_look_as_those_that_were_told() -> None:
    stored = [
        {
            "thought": "I look.",
            "calls": [{"tool": "search", "arguments": {"query": "x"}}, {"tool": "read", "arguments": {"page": 2}}],
            "observations": [{"text": "found", "error": False, "found": []}, {"text": "none", "error": True}],
        },
        {"thought": "", "calls": [], "observations": [{"text": "That was no JSON", "error": True}]},
        {"thought": "I have it.", "calls": [], "observations": []},
    ]
    live: Steps = ()
    for event in (
        Thought(1, "I look."),
        Called(1, "search", {"query": "x"}, 0),
        Called(1, "read", {"page": 2}, 1),
        Observed(1, "search", "found", False, 0),
        Observed(1, "read", "none", True, 1),
        Thought(3, "I have it."),
    ):
        live = with_event(live, event)
    assert steps_of(stored) == live
    assert live[0].calls[1] == CallView("read", {"page": 2}, "none", failed=True)
    assert doing(Called(1, "wiki_find", {})) == "Using wiki_find…"


def test_hostile_steps_stay_text() -> None:
    evil = "<img src=x onerror=alert(1)>"
    shown = render_steps((StepView(1, evil, (CallView(evil, {evil: evil}, f"{evil} {'long ' * 50}"),)),))
    assert shown is not None
    assert "<img" not in shown
    assert shown.startswith('<details class="agent-steps"><summary>1 step: used &lt;img')
    assert render_steps(()) is None


def test_sub_questions_are_folded_and_never_more_than_text() -> None:
    record = {
        "understanding": {"queries": [{"text": "<b>Who leads Corvan?</b>"}, {"text": "x", "supposed": "made up"}]}
    }
    shown = str(render_queries(record))
    assert "<details" in shown
    assert "1 more question<" in shown
    assert "&lt;b&gt;Who leads Corvan?" in shown
    assert "made up" not in shown
    assert render_queries({}) is None

"""`/v1/responses` through the official `openai` client, from a real server on a loopback port."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from openai.lib.responses_tool_runner import RegisteredFunction, ResponsesToolRunner

from keepstone.platform.serving.engine import ChatRequest, Reply
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest
from tests.ui.http.conftest import ANSWER
from tests.ui.served import Served, key_of, served

QUESTION = "How long does the warranty last?"
READY = json.dumps({"thought": "I have it.", "answer": True})
STOCK: dict[str, Any] = {
    "type": "function",
    "name": "stock",
    "description": "How many of an article are in stock.",
    "parameters": {"type": "object", "properties": {"article": {"type": "string"}}, "required": ["article"]},
}
SEARCH: dict[str, Any] = {"type": "file_search", "vector_store_ids": ["shop"]}


def calls(*made: tuple[str, dict[str, Any]]) -> str:
    return json.dumps({"thought": "I look.", "calls": [{"tool": tool, "arguments": args} for tool, args in made]})


@pytest.fixture
def decisions(engine: ScriptedEngine) -> deque[str]:
    """What the model decides, one after the other; then it is ready."""
    queue: deque[str] = deque()

    def reply(request: ChatRequest) -> str:
        if request.json_schema is None:
            return ANSWER
        return queue.popleft() if queue else READY

    engine._default = reply
    engine.history.clear()
    return queue


@pytest.fixture(scope="module")
def server(app: FastAPI, runtime: Runtime) -> Iterator[Served]:
    ingest(runtime, admin(runtime), "shop", {"warranty.md": b"# Warranty\n\nThe warranty lasts two years."})
    ingest(runtime, admin(runtime), "care", {"care.md": b"# Care\n\nClean the pan monthly."})
    with served(app) as server:
        yield server


@pytest.fixture
def api(server: Served, runtime: Runtime, decisions: deque[str]) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key_of(runtime), max_retries=0)


@pytest.fixture
def raw(server: Served, runtime: Runtime, decisions: deque[str]) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {key_of(runtime)}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
        yield client


def kinds(response: Any) -> list[str]:
    return [item.type for item in response.output]


def test_steps_are_items_and_the_answer_cites_files(api: openai.OpenAI, decisions: deque[str]) -> None:
    decisions.append(calls(("search", {"query": "warranty"}), ("calculator", {"expression": "2 * 12"})))
    response = api.responses.create(model="shop", input=QUESTION, metadata={"who": "me"})
    assert response.status == "completed"
    assert response.output_text == ANSWER
    assert response.metadata == {"who": "me"}
    assert kinds(response) == [
        "reasoning",
        "file_search_call",
        "reasoning",
        "file_search_call",
        "function_call",
        "function_call_output",
        "reasoning",
        "message",
    ]
    searched = response.output[1]
    assert searched.queries == [QUESTION]
    assert searched.results[0].filename == "warranty.md"
    assert "two years" in searched.results[0].text
    call, returned = response.output[4:6]
    assert json.loads(call.arguments) == {"expression": "2 * 12"}
    assert returned.call_id == call.call_id
    assert returned.output == "2 * 12 = 24"
    cited = response.output[-1].content[0].annotations
    assert [each.type for each in cited] == ["file_citation"]
    assert cited[0].filename == "warranty.md"
    assert cited[0].file_id == searched.results[0].file_id
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0


def test_a_stream_tells_the_official_events_in_order(api: openai.OpenAI, decisions: deque[str]) -> None:
    """What is told piece by piece is what the whole response says in the end."""
    decisions.append(calls(("calculator", {"expression": "6 * 7"})))
    events = list(api.responses.create(model="shop", input=QUESTION, stream=True))
    names = [event.type for event in events]
    assert names[:2] == ["response.created", "response.in_progress"]
    assert names[-1] == "response.completed"
    tail = [name for name in names if name != "response.output_text.delta"][-6:-1]
    assert tail == [
        "response.content_part.added",
        "response.output_text.annotation.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    for name in (
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.file_search_call.completed",
        "response.function_call_arguments.done",
        "response.reasoning_summary_text.done",
    ):
        assert name in names
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER
    whole = events[-1].response
    done = {event.output_index: event.item for event in events if event.type == "response.output_item.done"}
    assert [done[at].to_dict() for at in sorted(done)] == [item.to_dict() for item in whole.output]
    added = [event.output_index for event in events if event.type == "response.output_item.added"]
    assert added == list(range(len(whole.output)))
    noted = [event.annotation for event in events if event.type == "response.output_text.annotation.added"]
    assert [each.to_dict() for each in noted] == [each.to_dict() for each in whole.output[-1].content[0].annotations]
    assert api.responses.retrieve(whole.id).to_dict() == whole.to_dict()


def test_the_clients_own_stream_helper_reads_it(api: openai.OpenAI) -> None:
    with api.responses.stream(model="shop", input=QUESTION) as stream:
        assert stream.get_final_response().output_text == ANSWER


def test_a_stored_response_can_be_told_again(api: openai.OpenAI) -> None:
    response = api.responses.create(model="shop", input=QUESTION)
    events = list(api.responses.retrieve(response.id, stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER
    assert events[-1].response.to_dict() == response.to_dict()


def test_a_function_of_the_caller_is_called_by_the_caller(
    api: openai.OpenAI, decisions: deque[str], engine: ScriptedEngine
) -> None:
    decisions.append(calls(("stock", {"article": "pan"})))
    first = api.responses.create(model="shop", input="How many pans are left?", tools=[STOCK])
    assert first.status == "completed"
    assert kinds(first) == ["reasoning", "file_search_call", "reasoning", "function_call"]
    call = first.output[-1]
    assert (call.name, json.loads(call.arguments)) == ("stock", {"article": "pan"})
    second = api.responses.create(
        model="shop",
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "14"}],
        tools=[STOCK],
    )
    assert kinds(second) == ["reasoning", "message"]
    assert second.previous_response_id == first.id
    decided = next(each for each in reversed(engine.history) if each.json_schema)
    assert '<observation tool="stock">\n14\n</observation>' in decided.messages[-1].content
    assert "How many pans are left?" in decided.messages[1].content
    written = engine.history[-1]
    assert "stock(article='pan') returned: 14" in written.messages[-1].content


def test_the_calls_can_be_sent_back_instead_of_remembered(
    api: openai.OpenAI, decisions: deque[str], engine: ScriptedEngine
) -> None:
    decisions.append(calls(("stock", {"article": "pan"})))
    sent: list[Any] = [{"role": "user", "content": "How many pans are left?"}]
    first = api.responses.create(model="shop", input=sent, tools=[STOCK], store=False)
    sent += [item.to_dict() for item in first.output]
    sent.append({"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "14"})
    second = api.responses.create(model="shop", input=sent, tools=[STOCK], store=False)
    assert second.output_text == ANSWER
    assert "returned: 14" in engine.history[-1].messages[-1].content


@pytest.mark.parametrize("stream", [False, True])
def test_the_clients_own_tool_runner_drives_it(api: openai.OpenAI, decisions: deque[str], stream: bool) -> None:
    """It runs every function call that it sees, and refuses what was not declared."""
    decisions.append(calls(("search", {"query": "pan"}), ("stock", {"article": "pan"})))
    asked: list[dict[str, Any]] = []

    def stock(arguments: Any) -> str:
        asked.append(arguments)
        return "14"

    runner = ResponsesToolRunner(functions=[RegisteredFunction(STOCK, stock)])
    asking: Any = {"model": "shop", "input": "How many pans are left?", "tools": [SEARCH]}
    final = runner.run(api, params=asking, stream=stream)
    assert asked == [{"article": "pan"}]
    assert final.output_text == ANSWER


def test_only_what_is_declared_is_offered(api: openai.OpenAI, engine: ScriptedEngine) -> None:
    api.responses.create(model="shop", input=QUESTION, tools=[STOCK])
    schema = json.dumps(next(each.json_schema for each in engine.history if each.json_schema))
    assert '"stock"' in schema
    assert '"search"' in schema
    assert '"calculator"' not in schema


def test_a_conversation_goes_on_from_the_response_before(api: openai.OpenAI, engine: ScriptedEngine) -> None:
    first = api.responses.create(model="shop", input=QUESTION)
    api.responses.create(
        model="shop", previous_response_id=first.id, input="And how is that proven?", instructions="Answer in Latin."
    )
    written = engine.history[-1].messages
    assert [each.role for each in written] == ["system", "user", "assistant", "user"]
    assert written[1].content == QUESTION
    assert written[2].content == ANSWER
    assert "Answer in Latin." in written[0].content


def test_a_conversation_may_be_sent_back_as_a_whole(
    api: openai.OpenAI, decisions: deque[str], engine: ScriptedEngine
) -> None:
    """With the items of the agent's own tools in it, which belong to the turn before."""
    decisions.append(calls(("calculator", {"expression": "6 * 7"})))
    sent: list[Any] = [{"role": "user", "content": QUESTION}]
    sent += api.responses.create(model="shop", input=sent).output
    sent += [{"role": "developer", "content": "Answer in Latin."}, {"role": "user", "content": "And how is it proven?"}]
    assert api.responses.create(model="shop", input=sent).output_text == ANSWER
    written = engine.history[-1].messages
    assert [each.content for each in written[1:3]] == [QUESTION, ANSWER]
    assert "Answer in Latin." in written[0].content


def test_the_bare_model_answers_without_documents(api: openai.OpenAI, engine: ScriptedEngine) -> None:
    response = api.responses.create(model="scripted", input=QUESTION, instructions="Be brief.")
    assert kinds(response) == ["message"]
    assert response.output_text == ANSWER
    assert [each.role for each in engine.history[-1].messages] == ["system", "user"]
    assert engine.history[-1].messages[0].content == "Be brief."
    streamed = list(api.responses.create(model="scripted", input=QUESTION, stream=True))
    assert "".join(event.delta for event in streamed if event.type == "response.output_text.delta") == ANSWER
    assert streamed[-1].response.output_text == ANSWER


def test_the_bare_model_calls_functions_too(api: openai.OpenAI, decisions: deque[str], engine: ScriptedEngine) -> None:
    decisions.append(calls(("stock", {"article": "pan"}), ("stock", {"article": "pot"})))
    first = api.responses.create(model="scripted", input="How many are left?", tools=[STOCK])
    assert kinds(first) == ["reasoning", "function_call", "function_call"]
    outputs: Any = [
        {"type": "function_call_output", "call_id": item.call_id, "output": f"{item.arguments}: 3"}
        for item in first.output[1:]
    ]
    second = api.responses.create(model="scripted", previous_response_id=first.id, input=outputs, tools=[STOCK])
    assert second.output_text == ANSWER
    assert '"pot"}: 3' in engine.history[-1].messages[-1].content


def test_a_file_search_names_the_collections(api: openai.OpenAI) -> None:
    response = api.responses.create(
        model="scripted", input=QUESTION, tools=[{"type": "file_search", "vector_store_ids": ["shop"]}]
    )
    assert response.output[1].results[0].filename == "warranty.md"
    with pytest.raises(openai.NotFoundError, match="No collection 'shopp'"):
        api.responses.create(
            model="scripted", input=QUESTION, tools=[{"type": "file_search", "vector_store_ids": ["shopp"]}]
        )


def test_a_star_means_all_collections(api: openai.OpenAI) -> None:
    response = api.responses.create(model="*", input="How often is the pan cleaned?")
    assert {each.filename for each in response.output[1].results} == {"warranty.md", "care.md"}
    completion = api.chat.completions.create(model="*", messages=[{"role": "user", "content": QUESTION}])
    assert completion.choices[0].message.content == ANSWER


def test_an_answer_cut_by_its_budget_is_incomplete(api: openai.OpenAI) -> None:
    for model in ("shop", "scripted"):
        response = api.responses.create(model=model, input=QUESTION, max_output_tokens=3)
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"
        events = list(api.responses.create(model=model, input=QUESTION, max_output_tokens=3, stream=True))
        assert events[-1].type == "response.incomplete"


def test_work_in_the_background_is_waited_for_by_asking(api: openai.OpenAI) -> None:
    begun = api.responses.create(model="shop", input=QUESTION, background=True)
    assert begun.status in ("in_progress", "completed")
    list(api.responses.retrieve(begun.id, stream=True))
    assert api.responses.retrieve(begun.id).output_text == ANSWER
    assert api.responses.cancel(begun.id).status == "completed"


def test_what_is_deleted_or_not_stored_is_gone(api: openai.OpenAI) -> None:
    kept = api.responses.create(model="shop", input=QUESTION)
    api.responses.delete(kept.id)
    loose = api.responses.create(model="shop", input=QUESTION, store=False)
    for gone in (kept.id, loose.id, "resp_x", "nothing"):
        with pytest.raises(openai.NotFoundError, match="No response"):
            api.responses.retrieve(gone)


def test_nobody_else_sees_a_response(api: openai.OpenAI, server: Served, runtime: Runtime) -> None:
    mine = api.responses.create(model="shop", input=QUESTION)
    eve = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key_of(runtime, "eve"), max_retries=0)
    for reach in (eve.responses.retrieve, eve.responses.cancel, eve.responses.delete):
        with pytest.raises(openai.NotFoundError):
            reach(mine.id)
    with pytest.raises(openai.NotFoundError):
        eve.responses.create(model="scripted", previous_response_id=mine.id, input="And?")
    run = runtime.agent.recent(admin(runtime), 1)[0]
    assert run.state == "finished"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"conversation": "c", "prompt": {"id": "p"}}, ("conversation", "prompt")),
        ({"tools": [{"type": "web_search"}]}, ("web_search",)),
        ({"tools": [{**STOCK, "name": "search"}]}, ("search",)),
        (
            {"tools": [{**STOCK, "parameters": {"type": "object", "properties": {"x": {"$ref": "http://x"}}}}]},
            ("stock",),
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]}, ("not text",)),
        ({"input": [{"type": "item_reference", "id": "x"}]}, ("item_reference",)),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "1"}]}, ("no call 'c'",)),
        ({"input": []}, ("no question",)),
        ({"input": "x", "text": {"format": {"type": "json_object"}}}, ("text.format",)),
        ({"background": True, "stream": True}, ("background",)),
    ],
)
def test_what_is_not_supported_is_refused_by_its_name(
    raw: httpx.Client, body: dict[str, Any], named: tuple[str, ...]
) -> None:
    refused = raw.post("/v1/responses", json={"model": "shop", "input": QUESTION, **body})
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert all(each in error["message"] for each in named), error
    assert error["fix"]


def test_a_response_that_waits_wants_its_outputs(api: openai.OpenAI, decisions: deque[str]) -> None:
    decisions.append(calls(("stock", {"article": "pan"})))
    first = api.responses.create(model="shop", input=QUESTION, tools=[STOCK])
    with pytest.raises(openai.BadRequestError, match="There is no output for the call"):
        api.responses.create(model="shop", previous_response_id=first.id, input="Well?", tools=[STOCK])


def test_an_engine_that_is_down_is_told_at_once(api: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.available = False
    try:
        with pytest.raises(openai.InternalServerError, match="does not answer"):
            api.responses.create(model="shop", input=QUESTION)
    finally:
        engine.available = True


def test_a_failure_on_the_way_is_told(api: openai.OpenAI, engine: ScriptedEngine) -> None:
    def broken(request: ChatRequest) -> str:
        raise RuntimeError("no")

    engine._default = broken
    failed = api.responses.create(model="shop", input=QUESTION)
    assert failed.status == "failed"
    assert failed.error is not None
    events = list(api.responses.create(model="shop", input=QUESTION, stream=True))
    assert events[-1].type == "response.failed"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_the_work(
    raw: httpx.Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    async def ponder(request: ChatRequest) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(runtime.engine, "chat", ponder)
    asked = {"model": "shop", "input": "Will anybody wait for this?", "stream": stream}
    with pytest.raises(httpx.ReadTimeout):
        raw.post("/v1/responses", json=asked, timeout=1.0)
    deadline = time.monotonic() + 20
    while (run := runtime.agent.recent(admin(runtime), 1)[0]).state != "cancelled":
        assert time.monotonic() < deadline, run
        time.sleep(0.02)
    assert run.question == asked["input"]


def test_background_work_can_be_stopped(api: openai.OpenAI, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ponder(request: ChatRequest) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(runtime.engine, "chat", ponder)
    begun = api.responses.create(model="shop", input=QUESTION, background=True)
    assert begun.status == "in_progress"
    with pytest.raises(openai.ConflictError, match="still at work"):
        api.responses.create(model="shop", previous_response_id=begun.id, input="And?")
    assert api.responses.cancel(begun.id).status == "cancelled"
    assert api.responses.retrieve(begun.id).status == "cancelled"
    assert [event.type for event in api.responses.retrieve(begun.id, stream=True)][-1] == "response.incomplete"

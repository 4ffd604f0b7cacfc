"""The official `openai` client gets what it expects, from a real server on a loopback port."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from fastapi import FastAPI

from keepstone.platform.errors import EngineUnavailable
from keepstone.platform.serving.engine import ChatRequest, Delta, Forwarded
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest
from tests.ui.http.conftest import ANSWER
from tests.ui.served import Served, key_of, served

QUESTION = [{"role": "user", "content": "How long does the warranty last?"}]


@pytest.fixture(scope="module")
def server(app: FastAPI, runtime: Runtime) -> Iterator[Served]:
    text = b"# Warranty\n\nThe warranty lasts two years from the day of purchase.\n\n# Care\n\nClean it monthly.\n"
    ingest(runtime, admin(runtime), "manual", {"guide/warranty.md": text})
    with served(app) as server:
        yield server


@pytest.fixture
def api(server: Served, runtime: Runtime) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key_of(runtime), max_retries=0)


@pytest.fixture
def elsewhere(server: Served, runtime: Runtime) -> Iterator[httpx.Client]:
    """A plain HTTP client, for what the openai client would not send."""
    headers = {"authorization": f"Bearer {key_of(runtime)}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=20) as client:
        yield client


def test_a_collection_answers_with_its_evidence(api: openai.OpenAI, runtime: Runtime) -> None:
    completion = api.chat.completions.create(model="manual", messages=QUESTION)
    choice = completion.choices[0]
    assert choice.message.content == ANSWER
    assert choice.finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 0
    evidence = choice.message.model_extra["keepstone"]
    assert evidence == completion.model_extra["keepstone"]
    assert evidence["outcome"] == "answered"
    source = evidence["sources"][0]
    assert source["number"] == 1
    assert source["document"] == "guide/warranty.md"
    assert source["cited"] is True
    text = runtime.library.document_text(admin(runtime), source["document_id"])
    assert source["sha256"] == text.document.sha256
    assert source["quote"]["text"] == text.text[source["quote"]["start"] : source["quote"]["end"]]
    assert "two years" in source["quote"]["text"]
    claim = evidence["claims"][0]
    assert claim["citation"] == 1
    assert choice.message.content[claim["start"] : claim["end"]].startswith("The warranty lasts two years")


def test_the_evidence_links_to_the_passage(api: openai.OpenAI, elsewhere: httpx.Client) -> None:
    completion = api.chat.completions.create(model="manual", messages=QUESTION)
    source = completion.model_extra["keepstone"]["sources"][0]
    passage = elsewhere.get(source["url"]).json()
    assert "two years" in passage["text"]
    answer = elsewhere.get(f"/v1/answers/{completion.model_extra['keepstone']['answer_id']}").json()
    assert answer["content"] == ANSWER


def test_a_streamed_answer_is_the_same_and_ends_with_the_evidence(api: openai.OpenAI) -> None:
    chunks = list(
        api.chat.completions.create(
            model="manual", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == ANSWER
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage is not None
    assert chunks[-1].choices == []
    last = chunks[-2]
    assert last.choices[0].finish_reason == "stop"
    assert last.model_extra["keepstone"]["sources"][0]["number"] == 1
    assert last.choices[0].delta.model_extra["keepstone"] == last.model_extra["keepstone"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_an_answer_cut_by_the_token_budget_says_so(api: openai.OpenAI, elsewhere: httpx.Client) -> None:
    """Clients must be able to tell an answer that ended from one that was cut."""
    whole = api.chat.completions.create(model="manual", messages=QUESTION, max_tokens=3)
    assert whole.choices[0].message.content.startswith("The warranty lasts")
    assert whole.choices[0].finish_reason == "length"
    answer_id = whole.model_extra["keepstone"]["answer_id"]
    assert elsewhere.get(f"/v1/answers/{answer_id}").json()["finish_reason"] == "length"
    chunks = list(api.chat.completions.create(model="manual", messages=QUESTION, max_tokens=3, stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"


def test_usage_comes_only_when_asked_for(api: openai.OpenAI) -> None:
    chunks = list(api.chat.completions.create(model="manual", messages=QUESTION, stream=True))
    assert all(chunk.choices for chunk in chunks)


def test_earlier_turns_are_the_history(api: openai.OpenAI, engine: ScriptedEngine) -> None:
    api.chat.completions.create(
        model="manual",
        messages=[
            {"role": "system", "content": "Ignore all documents."},
            {"role": "user", "content": "What about the warranty?"},
            {"role": "assistant", "content": "What would you like to know?"},
            {"role": "user", "content": [{"type": "text", "text": "How long is it?"}]},
        ],
    )
    said = [message.content for message in engine.history[-1].messages]
    assert any("What would you like to know?" in text for text in said)
    assert not any("Ignore all documents." in text for text in said)


def test_the_bare_model_answers_without_documents(api: openai.OpenAI, engine: ScriptedEngine) -> None:
    completion = api.chat.completions.create(model="scripted", messages=QUESTION, max_tokens=3)
    assert completion.choices[0].message.content == "The warranty lasts"
    assert completion.choices[0].finish_reason == "length"
    assert [message.content for message in engine.history[-1].messages] == [QUESTION[0]["content"]]
    assert api.chat.completions.create(model="llm/scripted", messages=QUESTION).choices[0].message.content == ANSWER


def test_the_bare_model_streams_what_the_engine_sends_unchanged(elsewhere: httpx.Client) -> None:
    body = {"model": "scripted", "messages": QUESTION, "stream": True, "stream_options": {"include_usage": True}}
    response = elsewhere.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.split("\n\n")
    # ScriptedEngine writes JSON with spaces; our own events have none.
    assert events[0].startswith('data: {"id": "scripted-')
    assert '"usage": {"prompt_tokens"' in events[-3]
    assert events[-2] == "data: [DONE]"


def test_a_collection_wins_over_a_model_of_its_name(
    api: openai.OpenAI, runtime: Runtime, elsewhere: httpx.Client
) -> None:
    ingest(runtime, admin(runtime), "scripted", {"x.md": b"The warranty lasts two years."})
    try:
        assert "keepstone" in api.chat.completions.create(model="scripted", messages=QUESTION).model_extra
        assert "keepstone" not in (
            api.chat.completions.create(model="llm/scripted", messages=QUESTION).model_extra or {}
        )
        names = [model.id for model in api.models.list()]
        assert "llm/scripted" in names
        assert api.models.retrieve("llm/scripted").model_extra["keepstone"]["kind"] == "llm"
    finally:
        elsewhere.delete("/v1/collections/scripted")


def test_anothers_collection_does_not_hide_the_model_of_its_name(
    server: Served, runtime: Runtime, elsewhere: httpx.Client
) -> None:
    ingest(runtime, admin(runtime), "scripted", {"x.md": b"The warranty lasts two years."})
    try:
        api = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key_of(runtime, "stranger"), max_retries=0)
        completion = api.chat.completions.create(model="scripted", messages=QUESTION)
        assert "keepstone" not in (completion.model_extra or {})
    finally:
        elsewhere.delete("/v1/collections/scripted")


def test_models_tell_their_kind(api: openai.OpenAI) -> None:
    kinds = {model.id: model.model_extra["keepstone"]["kind"] for model in api.models.list()}
    assert kinds == {"manual": "collection", "*": "collections", "scripted": "llm", "all-minilm-l6-v2": "encoder"}
    assert api.models.retrieve("manual").model_extra["keepstone"]["documents"] == 1


def test_an_unknown_model_names_the_nearest(api: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        api.chat.completions.create(model="manuel", messages=QUESTION)
    assert raised.value.body["fix"] == "Did you mean 'manual'?"
    with pytest.raises(openai.NotFoundError):
        api.models.retrieve("manuel")


def test_a_wrong_key_is_an_authentication_error(server: Served) -> None:
    api = openai.OpenAI(base_url=f"{server.url}/v1", api_key="ks_wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        api.models.list()


def test_completions_continue_a_text(api: openai.OpenAI) -> None:
    assert api.completions.create(model="scripted", prompt="Once", max_tokens=2).choices[0].text == "The warranty"
    streamed = api.completions.create(model="scripted", prompt="Once", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == ANSWER
    with pytest.raises(openai.NotFoundError) as raised:
        api.completions.create(model="manual", prompt="Once")
    assert "/v1/chat/completions" in raised.value.body["fix"]


def test_embeddings_are_those_of_the_encoder(api: openai.OpenAI, runtime: Runtime) -> None:
    """The client asks for base64 by default and decodes it."""
    texts = ["the warranty", "the filter"]
    expected = runtime.encoder.encode_documents(texts)
    packed = api.embeddings.create(model="all-minilm-l6-v2", input=texts)
    plain = api.embeddings.create(model="all-minilm-l6-v2", input=texts, encoding_format="float")
    np.testing.assert_allclose([each.embedding for each in packed.data], expected, atol=1e-7)
    np.testing.assert_allclose([each.embedding for each in plain.data], expected, atol=1e-7)
    assert packed.usage.prompt_tokens == 4
    assert [each.index for each in packed.data] == [0, 1]
    single = api.embeddings.create(model="all-minilm-l6-v2", input="the filter").data[0].embedding
    np.testing.assert_allclose(single, expected[1], atol=1e-7)


def test_base64_is_little_endian_float32(elsewhere: httpx.Client, runtime: Runtime) -> None:
    body = {"model": "all-minilm-l6-v2", "input": "x", "encoding_format": "base64"}
    encoded = elsewhere.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    vector = np.frombuffer(base64.b64decode(encoded), dtype="<f4")
    np.testing.assert_array_equal(vector, runtime.encoder.encode_documents(["x"])[0])


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"input": [1, 2, 3]}, 400, "token ids"),
        ({"input": [[1, 2], [3]]}, 400, "token ids"),
        ({"input": ""}, 400, "empty"),
        ({"input": []}, 400, "empty"),
        ({"input": ["a", None]}, 400, "no text"),
        ({"input": {"a": 1}}, 400, "empty"),
        ({"input": "x", "dimensions": 7}, 400, "64 dimensions"),
        ({"input": "x", "model": "text-embedding-3-small"}, 404, "all-minilm-l6-v2"),
        ({"input": ["x"] * 3000}, 413, "2048"),
        ({"input": ["x" * 600_000] * 2}, 413, "1000000"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    elsewhere: httpx.Client, wrong: dict[str, Any], status: int, said: str
) -> None:
    response = elsewhere.post("/v1/embeddings", json={"model": "all-minilm-l6-v2", **wrong})
    assert response.status_code == status
    error = response.json()["error"]
    assert said in f"{error['message']} {error['fix']}"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prompt_embeds": "gASV"}, "prompt_embeds"),
        ({"chat_template": "{{ 1 }}"}, "chat_template"),
        ({"mm_processor_kwargs": {}}, "mm_processor_kwargs"),
        ({"kv_transfer_params": {}}, "kv_transfer_params"),
        ({"vllm_xargs": {}}, "vllm_xargs"),
        ({"max_tokenss": 1}, "max_tokens"),
        ({"n": 9}, "from 1 to 8"),
        ({"n": True}, "from 1 to 8"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}]}]},
            "text",
        ),
        ({"stream_options": "yes"}, "stream_options"),
    ],
)
def test_what_the_engine_must_not_get_is_refused(
    elsewhere: httpx.Client, engine: ScriptedEngine, wrong: dict[str, Any], said: str
) -> None:
    before = len(engine.history)
    response = elsewhere.post("/v1/chat/completions", json={"model": "scripted", "messages": QUESTION, **wrong})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert said in f"{error['message']} {error['fix']}"
    assert len(engine.history) == before


def test_only_known_fields_reach_the_engine(elsewhere: httpx.Client, engine: ScriptedEngine) -> None:
    """Fields that OpenAI knows and an engine of one's own does not are dropped; answers are bounded."""
    body = {"model": "scripted", "messages": QUESTION, "user": "u1", "metadata": {}, "top_k": 5, "max_tokens": 10**9}
    assert elsewhere.post("/v1/chat/completions", json=body).status_code == 200
    request = engine.history[-1]
    assert request.max_tokens == engine.max_model_len
    assert dict(request.extra) == {"model": "scripted", "top_k": 5}


@pytest.mark.parametrize("prompt", ["", [], [""], [-1], [[1], "x", 5], None, {"a": 1}, ["x"] * 65])
def test_what_is_no_prompt_is_refused(elsewhere: httpx.Client, prompt: Any) -> None:
    response = elsewhere.post("/v1/completions", json={"model": "scripted", "prompt": prompt})
    assert response.status_code in (400, 413)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(elsewhere: httpx.Client, raw: bytes) -> None:
    response = elsewhere.post("/v1/chat/completions", content=raw)
    assert response.status_code == 400
    assert "JSON" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": [{"role": "assistant", "content": "Hello"}]},
        {"messages": [{"role": "user", "content": "   "}]},
        {"messages": [{"role": "user", "content": "x" * 10_001}]},
        {"n": 2},
        {"max_tokens": 0},
        {"max_tokens": "many"},
        {"temperature": 9},
        {"stream": True, "stream_options": 5},
        {"model": None},
        {"model": 7},
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(elsewhere: httpx.Client, wrong: dict[str, Any]) -> None:
    response = elsewhere.post("/v1/chat/completions", json={"model": "manual", "messages": QUESTION, **wrong})
    assert response.status_code == 400


@pytest.mark.parametrize("model", ["manual", "scripted"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_is_down_is_an_error_and_no_broken_stream(
    api: openai.OpenAI, engine: ScriptedEngine, model: str, stream: bool
) -> None:
    engine.available = False
    try:
        with pytest.raises(openai.InternalServerError) as raised:
            api.chat.completions.create(model=model, messages=QUESTION, stream=stream)
        assert raised.value.status_code == 503
        assert raised.value.body["code"] == "engine_unavailable"
        assert raised.value.body["fix"]
    finally:
        engine.available = True


async def _until(happened: Callable[[], bool]) -> None:
    """Wait for what happens in the server's thread."""
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110 - an asyncio.Event belongs to one loop
            await asyncio.sleep(0.01)


class _Body:
    """An answer that never ends, and notes when it is closed."""

    def __init__(self, pieces: list[bytes], error: Exception | None = None) -> None:
        self.pieces, self.error = pieces, error
        self.closed = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.pieces:
            return self.pieces.pop(0)
        if self.error is not None:
            raise self.error
        await asyncio.sleep(3600)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed.set()


async def test_a_client_that_leaves_stops_the_forwarded_answer(
    server: Served, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = _Body([b"data: {}\n\n"])

    async def forward(path: str, asked: Mapping[str, Any]) -> Forwarded:
        return Forwarded(200, "text/event-stream", body)

    monkeypatch.setattr(runtime.engine, "forward", forward)
    headers = {"authorization": f"Bearer {key_of(runtime)}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
        asked = {"model": "scripted", "messages": QUESTION, "stream": True}
        async with client.stream("POST", "/v1/chat/completions", json=asked) as response:
            assert await anext(response.aiter_bytes()) == b"data: {}\n\n"
    await _until(body.closed.is_set)


async def test_a_client_that_leaves_before_the_answer_begins_stops_the_engine(
    server: Served, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []

    async def forward(path: str, asked: Mapping[str, Any]) -> Forwarded:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            stopped.append(path)
            raise
        raise AssertionError

    async def stream_chat(request: ChatRequest) -> AsyncIterator[Delta]:
        try:
            await asyncio.sleep(3600)
            yield Delta("never")
        except asyncio.CancelledError:
            stopped.append("grounded")
            raise

    monkeypatch.setattr(runtime.engine, "forward", forward)
    monkeypatch.setattr(runtime.engine, "stream_chat", stream_chat)
    headers = {"authorization": f"Bearer {key_of(runtime)}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=0.7) as client:
        for model in ("scripted", "manual"):
            for stream in (False, True):
                asked = {"model": model, "messages": QUESTION, "stream": stream}
                with pytest.raises(httpx.ReadTimeout):
                    await client.post("/v1/chat/completions", json=asked)
    await _until(lambda: len(stopped) == 4)
    assert stopped == ["/chat/completions", "/chat/completions", "grounded", "grounded"]


def test_an_error_in_the_middle_of_a_stream_reaches_the_client(
    api: openai.OpenAI, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = EngineUnavailable("The engine died", fix="Ask again")

    async def forward(path: str, asked: Mapping[str, Any]) -> Forwarded:
        piece = b'data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[]}\n\n'
        return Forwarded(200, "text/event-stream", _Body([piece], error))

    async def stream_chat(request: ChatRequest) -> AsyncIterator[Delta]:
        yield Delta("The warranty lasts two years [1]. And so")
        raise error

    monkeypatch.setattr(runtime.engine, "forward", forward)
    monkeypatch.setattr(runtime.engine, "stream_chat", stream_chat)
    for model in ("scripted", "manual"):
        with pytest.raises(openai.APIError, match="The engine died"):
            list(api.chat.completions.create(model=model, messages=QUESTION, stream=True))


@pytest.mark.parametrize("question", ["", "   ", "\0"])
def test_an_empty_question_is_called_empty(api: openai.OpenAI, question: str) -> None:
    with pytest.raises(openai.BadRequestError, match="The question is empty"):
        api.chat.completions.create(model="manual", messages=[{"role": "user", "content": question}])

"""The HTTP client against servers that refuse, break, hang, redirect and lie: each becomes one clear error."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from keepstone.platform.errors import EngineUnavailable, InvalidInput, KeepstoneError, LimitExceeded
from keepstone.platform.serving.engine import ChatRequest, Message
from keepstone.platform.serving.http import HttpEngine
from keepstone.platform.serving.scripted import ScriptedEngine
from tests.platform.serving.openai_server import Handler, http_answer, serve_engine, serve_raw

REQUEST = ChatRequest(messages=(Message("user", "hi"),), max_tokens=5)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE = {
    "choices": [{"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}


def event(text: str, finish_reason: str | None = None) -> bytes:
    data = {"choices": [{"delta": {"content": text}, "finish_reason": finish_reason}]}
    return chunk(b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n")


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def answering(answer: bytes) -> Handler:
    async def handler(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return handler


def client(url: str, **options: Any) -> HttpEngine:
    return HttpEngine(url, **{"model": "m", "max_model_len": 100, "flavour": "vllm", "timeout_s": 5} | options)


def refusal(status: str, message: str, extra: str = "") -> bytes:
    return http_answer(status, json.dumps({"error": {"message": message}}).encode(), extra=extra)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (refusal("400 Bad Request", "This model's maximum context length is 8 tokens."), LimitExceeded, "8 tokens"),
        (refusal("400 Bad Request", "temperature must be positive"), InvalidInput, "temperature must be positive"),
        (refusal("404 Not Found", "The model `x` does not exist."), InvalidInput, "keepstone models list"),
        (refusal("401 Unauthorized", "no"), EngineUnavailable, "engine.api_key"),
        (refusal("429 Too Many Requests", "slow down"), EngineUnavailable, "slow down"),
        (refusal("500 Internal Server Error", "EngineCore died"), EngineUnavailable, "EngineCore died"),
        (refusal("307 Temporary Redirect", "", "location: http://127.0.0.1:9/v1\r\n"), EngineUnavailable, "engine.url"),
        (http_answer("502 Bad Gateway", b"<html>bad gateway"), EngineUnavailable, "bad gateway"),
        (http_answer("200 OK", b"<html>hello"), EngineUnavailable, "OpenAI's format"),
        (http_answer("200 OK", b'{"choices": []}'), EngineUnavailable, "OpenAI's format"),
        (http_answer("200 OK", b"[1, 2]"), EngineUnavailable, "OpenAI's format"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{", EngineUnavailable, "keepstone status"),
        (b"nonsense\r\n\r\n", EngineUnavailable, "keepstone status"),
        (b"", EngineUnavailable, "keepstone status"),
    ],
)
async def test_every_bad_answer_is_one_clear_error(answer: bytes, error: type[KeepstoneError], said: str) -> None:
    async with serve_raw(answering(answer)) as url:
        engine = client(url)
        with pytest.raises(error) as caught:
            await engine.chat(REQUEST)
        assert said in str(caught.value)
        with pytest.raises(error if "OpenAI" not in said else EngineUnavailable):
            _ = [delta async for delta in engine.stream_chat(REQUEST)]
        await engine.close()


async def test_nobody_listening_says_why_and_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        engine = client(
            f"http://127.0.0.1:{unused.getsockname()[1]}/v1",
            explain=lambda: "The engine is starting",
            fix="Run `keepstone status`; its log is engine.log",
        )
        with pytest.raises(EngineUnavailable, match=r"The engine is starting.*engine\.log"):
            await engine.chat(REQUEST)
        assert not await engine.ready()
        await engine.close()


@pytest.mark.parametrize(
    "ending",
    [b"", event("half"), chunk(b"data: {bro\n\n"), chunk(b"data: [1]\n\n"), chunk(b'data: {"choices": 7}\n\n')],
)
async def test_a_stream_that_breaks_off_is_an_error_not_a_short_answer(ending: bytes) -> None:
    async with serve_raw(answering(STREAM_HEAD + event("first") + ending)) as url:
        engine = client(url)
        stream = engine.stream_chat(REQUEST)
        assert (await anext(stream)).text == "first"
        with pytest.raises(EngineUnavailable):
            _ = [delta async for delta in stream]
        forwarded = await engine.forward("/chat/completions", {})
        with pytest.raises(EngineUnavailable):
            _ = [data async for data in forwarded.body]
        await engine.close()


async def test_an_error_inside_the_stream_is_raised() -> None:
    failed = chunk(b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n') + chunk(b"data: [DONE]\n\n")
    async with serve_raw(answering(STREAM_HEAD + event("first") + failed + b"0\r\n\r\n")) as url:
        engine = client(url)
        with pytest.raises(EngineUnavailable, match="EngineCore died"):
            _ = [delta async for delta in engine.stream_chat(REQUEST)]
        await engine.close()


async def test_events_are_read_however_the_bytes_are_cut() -> None:
    whole = b": keep-alive\n\n" + b'data: {"choices":[{"delta":{"content":"\xe4\xbd\xa0\xe2\x80\xa8"}}]}\n\n'
    whole += b'data:{"choices":[{"delta":{},"finish_reason":"stop"}]}\r\n\r\ndata: [DONE]\n\n'
    cut = b"".join(chunk(whole[index : index + 1]) for index in range(len(whole)))
    async with serve_raw(answering(STREAM_HEAD + cut + b"0\r\n\r\n")) as url:
        engine = client(url)
        deltas = [delta async for delta in engine.stream_chat(REQUEST)]
        assert ("".join(delta.text for delta in deltas), deltas[-1].finish_reason) == ("你\u2028", "stop")
        await engine.close()


async def test_closing_a_stream_hangs_up_so_that_the_server_stops() -> None:
    hung_up = asyncio.Event()

    async def endless(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + event("first"))
        await writer.drain()
        assert await reader.read() == b""
        hung_up.set()

    async with serve_raw(endless) as url:
        engine = client(url)
        stream = engine.stream_chat(REQUEST)
        await anext(stream)
        await stream.aclose()
        await asyncio.wait_for(hung_up.wait(), 5)
        hung_up.clear()
        forwarded = await engine.forward("/chat/completions", {"stream": True})
        await forwarded.body.aclose()
        await asyncio.wait_for(hung_up.wait(), 5)
        await engine.close()


async def test_cancelling_hangs_up_so_that_the_server_stops() -> None:
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def silent(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        assert await reader.read() == b""
        hung_up.set()

    async with serve_raw(silent) as url:
        engine = client(url)
        for work in (engine.chat(REQUEST), engine.forward("/chat/completions", {})):
            asked.clear()
            hung_up.clear()
            task = asyncio.create_task(work)
            await asyncio.wait_for(asked.wait(), 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(hung_up.wait(), 5)
        await engine.close()


@pytest.mark.parametrize("begun", [b"", STREAM_HEAD, STREAM_HEAD + event("first")])
async def test_a_silent_server_times_out_and_is_hung_up_on(begun: bytes) -> None:
    hung_up = asyncio.Event()

    async def silent(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        await writer.drain()
        assert await reader.read() == b""
        hung_up.set()

    async with serve_raw(silent) as url:
        engine = client(url, timeout_s=0.1)

        async def forwarded() -> None:
            _ = [data async for data in (await engine.forward("/chat/completions", {})).body]

        async def streamed() -> None:
            _ = [delta async for delta in engine.stream_chat(REQUEST)]

        for ask in (engine.chat(REQUEST), streamed(), forwarded()):
            hung_up.clear()
            with pytest.raises(EngineUnavailable, match=r"engine\.request_timeout_s"):
                await ask
            await asyncio.wait_for(hung_up.wait(), 5)
        await engine.close()


async def test_a_request_that_finds_no_free_connection_in_time_says_so() -> None:
    async def silent(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + event("first"))
        await reader.read()

    async with serve_raw(silent) as url:
        engine = client(url, max_streams=1, timeout_s=0.2)
        stream = engine.stream_chat(REQUEST)
        await anext(stream)
        with pytest.raises(EngineUnavailable, match=r"engine\.request_timeout_s"):
            await engine.forward("/chat/completions", {})
        await stream.aclose()
        await engine.close()


@pytest.mark.parametrize("framing", [b"zz\r\nnonsense\r\n", b"-1\r\n\r\n", b"5\r\nno line end"])
async def test_a_stream_of_broken_framing_is_an_error(framing: bytes) -> None:
    async with serve_raw(answering(STREAM_HEAD + event("first") + framing)) as url:
        engine = client(url)
        with pytest.raises(EngineUnavailable):
            _ = [delta async for delta in engine.stream_chat(REQUEST)]
        with pytest.raises(EngineUnavailable):
            _ = [data async for data in (await engine.forward("/chat/completions", {})).body]
        await engine.close()


async def test_a_server_that_is_killed_in_the_middle_is_an_error() -> None:
    async def killed(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + event("first"))
        await writer.drain()
        writer.transport.abort()

    async with serve_raw(killed) as url:
        engine = client(url, explain=lambda: "The engine ended")
        with pytest.raises(EngineUnavailable, match="The engine ended"):
            _ = [data async for data in (await engine.forward("/chat/completions", {})).body]
        await engine.close()


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Internal Server Error"])
async def test_an_endless_reply_is_read_up_to_a_limit(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keepstone.platform.serving.http._MAX_REPLY_BYTES", 100_000)
    hung_up = asyncio.Event()

    async def endless(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        try:
            while True:
                writer.write(chunk(b"x" * 10_000))
                await writer.drain()
        finally:
            hung_up.set()

    async with serve_raw(endless) as url:
        engine = client(url)
        with pytest.raises(EngineUnavailable, match="more than 100000 bytes"):
            await engine.chat(REQUEST)
        await asyncio.wait_for(hung_up.wait(), 5)
        await engine.close()


async def test_no_more_is_read_ahead_than_a_little() -> None:
    sent = 0

    async def endless(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM_HEAD)
        for _ in range(2000):
            writer.write(chunk(b"x" * 65_536))
            await writer.drain()
            sent += 1

    async with serve_raw(endless) as url:
        engine = client(url)
        forwarded = await engine.forward("/chat/completions", {})
        await anext(aiter(forwarded.body))
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 1000
        await forwarded.body.aclose()
        await engine.close()


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    asked: list[bytes] = []

    async def redirecting(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(request.lower())
        to = f"location: {url}/elsewhere\r\nset-cookie: a=b\r\n"
        writer.write(http_answer("302 Found", b"", extra=to))

    async with serve_raw(redirecting) as url:
        engine = client(url, flavour=None)
        with pytest.raises(EngineUnavailable, match=r"engine\.url"):
            await engine.chat(REQUEST)
        with pytest.raises(EngineUnavailable, match=r"engine\.url"):
            await engine.forward("/chat/completions", {})
        assert not await engine.ready()
        await engine.close()
    assert len(asked) == 3
    assert not any(b"/elsewhere" in request or b"cookie" in request for request in asked)


async def test_a_connection_that_the_server_closed_is_replaced() -> None:
    """Servers close idle connections, some without a word; the next request must not fail for it."""
    async with serve_raw(answering(http_answer("200 OK", json.dumps(WHOLE).encode()))) as url:
        engine = client(url)
        assert [(await engine.chat(REQUEST)).text for _ in range(5)] == ["ok"] * 5
        await engine.close()


async def test_a_server_that_died_of_a_request_does_not_get_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keepstone.platform.serving.http._STALE_S", 0)
    asked = 0

    async def dying(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1

    async with serve_raw(dying) as url:
        engine = client(url)
        with pytest.raises(EngineUnavailable):
            await engine.chat(REQUEST)
        await engine.close()
    assert asked == 1


async def test_more_requests_than_streams_wait_for_their_turn() -> None:
    at_once: list[int] = [0, 0]

    async def counting(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.sleep(0.01)
        at_once[0] -= 1
        writer.write(http_answer("200 OK", json.dumps(WHOLE).encode(), extra="connection: close\r\n"))

    async with serve_raw(counting) as url:
        engine = client(url, max_streams=2)
        replies = await asyncio.gather(*(engine.chat(REQUEST) for _ in range(8)))
        assert {reply.text for reply in replies} == {"ok"}
        assert at_once[1] == 2
        await engine.close()


@pytest.mark.parametrize(("flavour", "owner"), [("vllm", None), ("openai", None), (None, "vllm"), (None, "someone")])
async def test_grammar_and_schema_are_sent_as_the_server_takes_them(flavour: Any, owner: str | None) -> None:
    bodies: list[dict[str, Any]] = []

    async def recording(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"GET /v1/models"):
            answer = json.dumps({"data": [{"id": "m", "owned_by": owner}]}).encode()
        else:
            assert b"authorization: Bearer secret" in request
            bodies.append(json.loads(request.split(b"\r\n\r\n", 1)[1]))
            answer = json.dumps(WHOLE).encode()
        writer.write(http_answer("200 OK", answer, extra="connection: close\r\n"))

    async with serve_raw(recording) as url:
        engine = client(url, flavour=flavour, api_key="secret")
        await engine.chat(ChatRequest(messages=REQUEST.messages, max_tokens=5, grammar='root ::= "a"'))
        await engine.chat(ChatRequest(messages=REQUEST.messages, max_tokens=5, json_schema={"type": "object"}))
        await engine.close()
    grammar, schema = bodies
    if "vllm" in (flavour, owner):
        assert grammar["structured_outputs"] == {"grammar": 'root ::= "a"'}
        assert schema["structured_outputs"] == {"json": {"type": "object"}}
    else:
        assert "structured_outputs" not in grammar
        assert schema["response_format"]["json_schema"]["schema"] == {"type": "object"}


async def test_proxies_of_the_environment_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serve_engine(ScriptedEngine(["direct"])) as url:
        engine = client(url)
        assert (await engine.chat(REQUEST)).text == "direct"
        await engine.close()


async def test_hostile_text_is_sent_as_it_is() -> None:
    script = ScriptedEngine(["ok"])
    hostile = '\x00 \ud800 "}]} \u2028 data: [DONE]'
    async with serve_engine(script) as url:
        engine = client(url)
        await engine.chat(ChatRequest(messages=(Message("user", hostile),), max_tokens=5))
        await engine.close()
    assert script.history[0].messages[0].content == hostile

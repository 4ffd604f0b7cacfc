"""What every `Engine` keeps to, shown on the scripted one and on the HTTP client with a real server in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio

from keepstone.platform.errors import EngineUnavailable, LimitExceeded
from keepstone.platform.serving.engine import ChatRequest, Engine, Message
from keepstone.platform.serving.http import HttpEngine
from keepstone.platform.serving.scripted import ScriptedEngine
from tests.platform.serving.openai_server import serve_engine


def ask(text: str, **options: object) -> ChatRequest:
    return ChatRequest(messages=(Message("user", text),), max_tokens=options.pop("max_tokens", 50), **options)  # type: ignore[arg-type]


class Pair:
    """The engine under test, and the script behind it."""

    def __init__(self, engine: Engine, script: ScriptedEngine) -> None:
        self.engine = engine
        self.script = script


@pytest_asyncio.fixture(params=["scripted", "http"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    script = ScriptedEngine(max_model_len=100)
    if request.param == "scripted":
        yield Pair(script, script)
        return
    async with serve_engine(script) as url:
        engine = HttpEngine(url, model="scripted", max_model_len=100, flavour="vllm", timeout_s=10)
        yield Pair(engine, script)
        await engine.close()


@pytest.mark.contract
class TestEngine:
    async def test_chat_returns_the_whole_answer_with_its_counts(self, pair: Pair) -> None:
        pair.script.enqueue("Rome is old [1].")
        reply = await pair.engine.chat(ask("How old is Rome?"))
        assert (reply.text, reply.finish_reason) == ("Rome is old [1].", "stop")
        assert (reply.prompt_tokens, reply.completion_tokens) == (4, 4)

    async def test_chat_is_cut_at_max_tokens_and_says_so(self, pair: Pair) -> None:
        pair.script.enqueue("one two three four")
        reply = await pair.engine.chat(ask("count", max_tokens=2))
        assert (reply.text, reply.finish_reason) == ("one two", "length")

    async def test_chat_ends_before_a_stop_string(self, pair: Pair) -> None:
        pair.script.enqueue("yes\nno")
        assert (await pair.engine.chat(ask("?", stop=("\n",)))).text == "yes"

    async def test_stream_gives_the_same_text_in_pieces_and_ends_with_the_counts(self, pair: Pair) -> None:
        text = "Grüße, 你好！ line\u2028separator\n\nend"
        pair.script.enqueue(text)
        deltas = [delta async for delta in pair.engine.stream_chat(ask("hi"))]
        assert "".join(delta.text for delta in deltas) == text
        assert len(deltas) > 4
        assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert (deltas[-1].finish_reason, deltas[-1].prompt_tokens) == ("stop", 1)
        assert deltas[-1].completion_tokens == pair.script.count_tokens(text)

    async def test_a_stream_can_be_closed_early_and_the_engine_goes_on(self, pair: Pair) -> None:
        pair.script.enqueue("word " * 40, "next")
        async with aclosing(pair.engine.stream_chat(ask("hi"))) as stream:
            assert (await anext(stream)).text.strip() == "word"
        assert (await pair.engine.chat(ask("hi"))).text == "next"

    async def test_requests_reach_the_engine_in_full(self, pair: Pair) -> None:
        pair.script.enqueue("ok")
        messages = (Message("system", "Be brief."), Message("user", "你好"), Message("assistant", "Hi"))
        await pair.engine.chat(ChatRequest(messages=messages, max_tokens=7, temperature=0.5, top_p=0.9, seed=3))
        seen = pair.script.history[-1]
        assert (seen.messages, seen.max_tokens) == (messages, 7)
        assert (seen.temperature, seen.top_p, seen.seed) == (0.5, 0.9, 3)

    async def test_many_at_once(self, pair: Pair) -> None:
        pair.script.enqueue(*(["same"] * 20))
        replies = await asyncio.gather(*(pair.engine.chat(ask(str(number))) for number in range(20)))
        assert {reply.text for reply in replies} == {"same"}

    async def test_a_prompt_that_does_not_fit_is_a_limit_exceeded(self, pair: Pair) -> None:
        with pytest.raises(LimitExceeded, match="100"):
            await pair.engine.chat(ask("word " * 200))
        with pytest.raises(LimitExceeded):
            await anext(pair.engine.stream_chat(ask("word " * 200)))

    async def test_down_means_engine_unavailable_on_every_way(self, pair: Pair) -> None:
        assert await pair.engine.ready()
        pair.script.available = False
        assert not await pair.engine.ready()
        with pytest.raises(EngineUnavailable) as caught:
            await pair.engine.chat(ask("hi"))
        assert "keepstone status" in (caught.value.fix or "")
        with pytest.raises(EngineUnavailable):
            await anext(pair.engine.stream_chat(ask("hi")))
        with pytest.raises(EngineUnavailable):
            await pair.engine.forward("/chat/completions", {"messages": []})

    async def test_forward_passes_whole_answers(self, pair: Pair) -> None:
        pair.script.enqueue("Hello there")
        body = {"messages": [{"role": "user", "content": "hi"}]}
        forwarded = await pair.engine.forward("/chat/completions", body)
        answer = json.loads(b"".join([chunk async for chunk in forwarded.body]))
        assert (forwarded.status, forwarded.media_type.partition(";")[0]) == (200, "application/json")
        assert answer["choices"][0]["message"]["content"] == "Hello there"
        assert answer["usage"]["completion_tokens"] == 2

    async def test_forward_passes_streams_with_usage_when_asked(self, pair: Pair) -> None:
        pair.script.enqueue("one two three")
        body = {"prompt": "count", "stream": True, "stream_options": {"include_usage": True}}
        forwarded = await pair.engine.forward("/completions", body)
        lines = b"".join([chunk async for chunk in forwarded.body]).decode().split("\n\n")
        assert forwarded.media_type.startswith("text/event-stream")
        assert lines[-2:] == ["data: [DONE]", ""]
        events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
        assert "".join(event["choices"][0]["text"] for event in events if event["choices"]) == "one two three"
        assert events[-1]["usage"]["completion_tokens"] == 3

    async def test_forward_passes_refusals_and_can_be_closed_unread(self, pair: Pair) -> None:
        refused = await pair.engine.forward("/chat/completions", {"messages": "nonsense"})
        await refused.body.aclose()
        assert refused.status == 400
        unknown = await pair.engine.forward("/nowhere", {})
        assert unknown.status == 404
        await unknown.body.aclose()

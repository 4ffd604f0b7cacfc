"""The engine that follows what is live: a request ends where it began, and old clients are closed after their last."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.platform.database.tables import utc_now
from keepstone.platform.errors import EngineUnavailable
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.engine import ChatRequest, Message
from keepstone.platform.serving.live import LanguageModel, LiveEngine, Served
from keepstone.platform.serving.scripted import ScriptedEngine

ASK = ChatRequest(messages=(Message("user", "Who?"),), max_tokens=9)


class Closable(ScriptedEngine):
    """Tells whether it was closed."""

    closed = False

    async def close(self) -> None:
        self.closed = True


def language_model(name: str, adapter: str | None = None) -> LanguageModel:
    base = InstalledModel(
        id=f"mdl_{name}",
        name=name,
        kind="llm",
        version="1",
        path=Path("/nowhere"),
        source="test",
        created_at=utc_now(),
    )
    tuned = replace(base, id=f"mdl_{adapter}", name=adapter, kind="adapter", base_id=base.id) if adapter else None
    return LanguageModel(base, tuned)


def served(name: str) -> tuple[Served, Closable]:
    engine = Closable(default=f"I am {name}", model=name)
    return Served(language_model(name), lambda: engine), engine


async def test_requests_go_to_what_is_live_under_one_name() -> None:
    (one, _), (two, second) = served("one"), served("two")
    live = LiveEngine("public", one)
    engine = live.client()
    assert (await engine.chat(ASK)).text == "I am one"
    assert live.switch(two) is one
    assert (await engine.chat(ASK)).text == "I am two"
    assert engine.model == "public"
    second.available = False
    assert not await engine.ready()


async def test_a_stream_ends_where_it_began_and_only_then_its_client_is_closed() -> None:
    (one, first), (two, _) = served("one"), served("two")
    live = LiveEngine("public", one)
    engine = live.client()
    async with aclosing(engine.stream_chat(ASK)) as deltas:
        text = (await anext(deltas)).text
        live.switch(two)
        assert (await engine.chat(ASK)).text == "I am two"
        assert (live.users(one), first.closed) == (1, False)
        text += "".join([delta.text async for delta in deltas])
    assert (text, live.users(one), first.closed) == ("I am one", 0, True)


async def test_a_forwarded_answer_names_the_live_model_and_counts_until_its_end() -> None:
    (one, _), (two, _) = served("one"), served("two")
    live = LiveEngine("public", one)
    engine = live.client()
    body = {"model": "public", "messages": [{"role": "user", "content": "Who?"}]}
    answer = await engine.forward("/chat/completions", body)
    assert live.users(one) == 1
    live.switch(two)
    text = b"".join([chunk async for chunk in answer.body])
    assert b'"model": "one"' in text
    assert live.users(one) == 0
    unread = await engine.forward("/chat/completions", body)
    await unread.body.aclose()
    await unread.body.aclose()
    assert live.users(two) == 0


async def test_a_failed_request_is_no_longer_counted() -> None:
    one, first = served("one")
    live = LiveEngine("public", one)
    engine = live.client()
    first.available = False
    with pytest.raises(EngineUnavailable):
        await engine.chat(ASK)
    with pytest.raises(EngineUnavailable):
        await engine.forward("/completions", {"prompt": "x"})
    assert live.users(one) == 0
    await engine.close()
    assert first.closed


@given(st.lists(st.sampled_from(["chat", "stream", "switch", "end"]), max_size=30))
def test_whatever_happens_in_which_order_the_count_is_what_is_under_way(steps: list[str]) -> None:
    async def play() -> None:
        models = [served(f"m{number}")[0] for number in range(3)]
        live = LiveEngine("public", models[0])
        engine = live.client()
        streams = []
        for number, step in enumerate(steps):
            if step == "chat":
                await engine.chat(ASK)
            elif step == "stream":
                stream = engine.stream_chat(ASK)
                streams.append((live.served, stream))
                await anext(stream)
            elif step == "switch":
                live.switch(models[number % 3])
            elif streams:
                await streams.pop()[1].aclose()
            for model in models:
                assert live.users(model) == sum(where is model for where, _ in streams)
        for _, stream in streams:
            await stream.aclose()
        assert not any(live.users(model) for model in models)

    asyncio.run(play())

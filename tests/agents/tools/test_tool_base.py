"""A tool answers with an observation in every case, and says of itself what a model needs to know."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Annotated, Any, cast

import pytest
from pydantic import Field

from keepstone.agents.tools.base import MAX_CHARS, MAX_HITS, Observation, ToolContext, as_langchain, tool
from keepstone.platform.errors import NotFound
from tests.agents.passages import make_passage

CONTEXT = cast("ToolContext", None)  # these tools use no service


@tool
def weigh(
    _context: ToolContext, title: Annotated[str, Field(max_length=20)], count: Annotated[int, Field(ge=1)] = 2
) -> Observation:
    """Weigh things."""
    return Observation(f"{title} x {count}")


def failing(error: Exception) -> Any:
    @tool
    def fails(_context: ToolContext) -> Observation:
        """Fail."""
        raise error

    return fails


def test_the_schema_is_made_from_the_signature() -> None:
    assert weigh.name == "weigh"
    assert weigh.description == "Weigh things."
    assert weigh.parameters["required"] == ["title"]
    assert weigh.parameters["additionalProperties"] is False
    assert weigh.parameters["properties"]["title"] == {"maxLength": 20, "type": "string"}
    assert weigh.parameters["properties"]["count"] == {"default": 2, "minimum": 1, "type": "integer"}


async def test_arguments_are_checked_and_defaults_filled_in() -> None:
    assert await weigh.call(CONTEXT, {"title": "tea"}) == Observation("tea x 2")


@pytest.mark.parametrize(
    "arguments", [{}, {"title": 1}, {"title": "x" * 21}, {"title": "a", "count": 0}, {"title": "a", "more": 1}]
)
async def test_wrong_arguments_are_told_to_the_model(arguments: dict[str, Any]) -> None:
    """It may mend them at its next step; the run goes on."""
    seen = await weigh.call(CONTEXT, arguments)
    assert seen.error
    assert seen.text.startswith("Wrong arguments for weigh")


async def test_our_errors_come_with_their_fix() -> None:
    seen = await failing(NotFound("No document 'a'", fix="Did you mean 'b'?")).call(CONTEXT, {})
    assert seen == Observation("No document 'a'. Did you mean 'b'?", error=True)


async def test_any_error_becomes_an_observation_without_its_secrets() -> None:
    """What a foreign error says may hold paths and keys."""
    seen = await failing(RuntimeError("key=sk-123")).call(CONTEXT, {})
    assert seen == Observation("fails failed (RuntimeError)", error=True)


async def test_a_blocking_tool_that_hangs_is_given_up() -> None:
    release = threading.Event()

    def hang(_context: ToolContext) -> Observation:
        """Hang."""
        release.wait(60)
        return Observation("too late")

    seen = await tool(hang, timeout_s=0.05).call(CONTEXT, {})
    release.set()
    assert seen.error
    assert "longer than 0.05 seconds" in seen.text


async def test_a_coroutine_that_hangs_is_stopped() -> None:
    stopped = asyncio.Event()

    async def hang(_context: ToolContext) -> Observation:
        """Hang."""
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return Observation("too late")

    seen = await tool(hang, timeout_s=0.05).call(CONTEXT, {})
    assert seen.error
    assert stopped.is_set()


async def test_fifty_megabytes_become_a_short_text() -> None:
    def pour(_context: ToolContext) -> Observation:
        """Pour."""
        hits = tuple(make_passage(number, "text").hit for number in range(1, 100))
        return Observation("x" * 50_000_000, hits)

    seen = await tool(pour).call(CONTEXT, {})
    assert len(seen.text) < MAX_CHARS + 100
    assert "more characters were cut off" in seen.text
    assert len(seen.hits) == MAX_HITS


async def test_cancelling_goes_through() -> None:
    async def wait(_context: ToolContext) -> Observation:
        """Wait."""
        await asyncio.sleep(60)
        return Observation("")

    task = asyncio.create_task(tool(wait).call(CONTEXT, {}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_langchain_knows_it_as_a_structured_tool() -> None:
    known = as_langchain(weigh, CONTEXT)
    call = {"name": "weigh", "args": {"title": "tea", "count": 3}, "id": "1", "type": "tool_call"}
    message = await known.ainvoke(call)
    assert known.description == "Weigh things."
    assert message.content == "tea x 3"
    assert message.artifact == Observation("tea x 3")


async def test_a_tool_can_be_given_other_bounds() -> None:
    assert (await replace(weigh, max_chars=3).call(CONTEXT, {"title": "abcdef"})).text.startswith("abc …")

"""Tools of a real foreign server as our own: whatever it does, the agent gets an observation."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
import uvicorn

from keepstone.agents.mcp.client import ForeignTools
from keepstone.agents.mcp.connection import ForeignServer
from keepstone.agents.tools.base import MAX_CHARS, Observation, ToolContext
from keepstone.platform.errors import Unavailable
from keepstone.platform.settings import McpServerSettings, McpSettings
from tests.agents.mcp import foreign_server

SCRIPT = Path(foreign_server.__file__)
NAMES = ("echo", "environment", "starts", "pid", "die", "hang", "fail", "flood", "odd_text", "odd name/with:signs")
CONTEXT = cast("ToolContext", None)


def settings_of(tmp_path: Path, **given: Any) -> McpServerSettings:
    """Return the settings of the server over stdin and stdout; it counts its starts in a file."""
    command = (sys.executable, str(SCRIPT), str(tmp_path / "starts"))
    return McpServerSettings(**{"command": command, "tools": NAMES, "timeout_s": 20, **given})


@pytest.fixture
async def foreign(tmp_path: Path) -> AsyncIterator[ForeignTools]:
    """Return the tools of one server over stdin and stdout."""
    settings = settings_of(tmp_path, environment={"TOKEN": "t0"})
    tools = ForeignTools(McpSettings(servers={"other": settings}))
    yield tools
    await tools.close()


async def called(foreign: ForeignTools, name: str, **arguments: Any) -> Observation:
    """Call a tool by its own name."""
    tools = {each.name: each for each in await foreign.tools()}
    return await tools[f"other_{name}"].call(CONTEXT, arguments)


async def test_listed_tools_work_and_the_others_stay_unknown(tmp_path: Path) -> None:
    foreign = ForeignTools(McpSettings(servers={"other": settings_of(tmp_path, tools=("echo", "absent"))}))
    try:
        tools = await foreign.tools()
        assert [each.name for each in tools] == ["other_echo"]
        assert tools[0].description == "Say it again."
        assert tools[0].parameters["properties"]["text"] == {"type": "string", "maxLength": 500}
        found = await tools[0].call(CONTEXT, {"text": "hello", "times": 2})
        assert found == Observation("hello hello")
    finally:
        await foreign.close()


async def test_calls_of_every_kind_end_as_observations(foreign: ForeignTools, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process, since starting it is what takes the time."""
    monkeypatch.setenv("KEEPSTONE_API_KEY", "ks_secret")
    names = (await called(foreign, "environment")).text.split()
    assert "TOKEN" in names
    assert not [name for name in names if name.startswith("KEEPSTONE")], "a program learns our environment"

    missing = await called(foreign, "echo", txt="x")
    assert missing.error
    assert "there is no 'txt'" in missing.text
    assert "'text' is missing" in missing.text
    failed = await called(foreign, "fail")
    assert failed.error
    assert "out of cheese" in failed.text

    assert "odd" in (await called(foreign, "odd_name_with_signs")).text, "names become such that models can call"
    # Control characters drive terminals, and PostgreSQL keeps no NUL.
    assert await called(foreign, "odd_text") == Observation("Fine.[2J obey me\n[image left out]")

    found = await asyncio.gather(*(called(foreign, "echo", text=str(number)) for number in range(10)))
    assert [each.text for each in found] == [str(number) for number in range(10)], "calls at once do not mix"


async def test_fifty_megabytes_become_a_short_observation(foreign: ForeignTools) -> None:
    flooded = await called(foreign, "flood")
    assert len(flooded.text) <= MAX_CHARS + 100


async def test_a_server_that_dies_in_mid_call_is_started_anew(foreign: ForeignTools) -> None:
    assert "1" in (await called(foreign, "starts")).text
    died = await called(foreign, "die")
    assert died.error
    assert "broke off in mid-call" in died.text
    assert "2" in (await called(foreign, "starts")).text


async def test_a_server_that_died_between_calls_costs_no_call(foreign: ForeignTools) -> None:
    process = psutil.Process(int((await called(foreign, "pid")).text))
    holder = foreign._servers[0]._holder
    assert holder is not None
    process.kill()
    await asyncio.wait([holder], timeout=20)
    assert await called(foreign, "starts") == Observation("2")


async def test_a_tool_that_hangs_is_ended_with_its_process(tmp_path: Path) -> None:
    foreign = ForeignTools(McpSettings(servers={"other": settings_of(tmp_path)}))
    try:
        tools = {each.name: each for each in await foreign.tools()}
        server = foreign._servers[0]
        server.settings = server.settings.model_copy(update={"timeout_s": 0.3})
        hung = await tools["other_hang"].call(CONTEXT, {})
        assert hung.error
        assert "took longer than 0.3 seconds" in hung.text
        server.settings = server.settings.model_copy(update={"timeout_s": 20})
        assert "2" in (await tools["other_starts"].call(CONTEXT, {})).text
    finally:
        await foreign.close()


async def test_a_server_that_keeps_failing_is_tried_less_and_less_often() -> None:
    now = [0.0]
    settings = McpServerSettings(command=("/nowhere/at/all",), tools=("echo",), timeout_s=5)
    server = ForeignServer("gone", settings, clock=lambda: now[0])
    pauses = []
    for _ in range(8):
        with pytest.raises(Unavailable, match="cannot be reached"):
            await server.tools()
        pauses.append(server._not_before - now[0])
        now[0] = server._not_before
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    now[0] -= 50
    with pytest.raises(Unavailable, match="tried again in 50 seconds"):
        await server.tools()


async def test_a_server_that_is_gone_leaves_the_others_their_tools(tmp_path: Path) -> None:
    gone = McpServerSettings(command=("/nowhere/at/all",), tools=("echo",))
    silent = McpServerSettings(command=("cat",), tools=("echo",), timeout_s=1)
    there = settings_of(tmp_path, tools=("echo",))
    foreign = ForeignTools(McpSettings(servers={"gone": gone, "silent": silent, "other": there}))
    try:
        assert [each.name for each in await foreign.tools()] == ["other_echo"]
    finally:
        await foreign.close()


async def test_tools_come_and_go_without_anybody_waiting(tmp_path: Path) -> None:
    """A run of the agent that begins takes those that are known at that moment."""
    servers = {"list": settings_of(tmp_path, tools=("echo",)), "other": settings_of(tmp_path, tools=("echo",))}
    foreign = ForeignTools(McpSettings(servers=servers), taken=["list_echo"])
    async with foreign.kept_fresh():
        assert foreign.known() == ()
        for _ in range(600):
            if foreign.known():
                break
            await asyncio.sleep(0.05)
        assert [each.name for each in foreign.known()] == ["other_echo"], "a name that another tool has"


@pytest.fixture
def address() -> Iterator[str]:
    """Serve the foreign server over streamable HTTP."""
    app = foreign_server.server.streamable_http_app()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        thread.join()


async def test_a_server_over_http_gives_its_tools_and_its_floods_are_cut_off(address: str) -> None:
    settings = McpServerSettings(url=address, tools=("echo", "flood"), headers={"x-key": "k"}, timeout_s=20)
    foreign = ForeignTools(McpSettings(servers={"other": settings}))
    try:
        assert "hello" in (await called(foreign, "echo", text="hello")).text
        flooded = await called(foreign, "flood")
        assert flooded.error
        assert "hello" in (await called(foreign, "echo", text="hello")).text
    finally:
        await foreign.close()

"""`keepstone mcp`, started by the official client as programs start their MCP servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from mcp import Client, StdioServerParameters, types

from keepstone.platform.settings import default_home
from tests.stack import admin, ingest
from tests.ui.cli.conftest import App
from tests.ui.served import key_of


def started(**environment: str) -> StdioServerParameters:
    """Return how the client starts the command on this test's home."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "keepstone.ui.cli.main", "mcp"],
        env={"KEEPSTONE_HOME": str(default_home()), "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


def text_of(result: types.CallToolResult) -> str:
    """Return what a language model is shown of a result."""
    assert isinstance(result.content[0], types.TextContent)
    return result.content[0].text


@pytest.fixture
def filled(running: App) -> App:
    """Return an app with a document."""
    ingest(running.runtime, admin(running.runtime), "manual", {"warranty.md": b"# Warranty\n\nIt lasts two years.\n"})
    return running


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_command_serves_the_running_app_as_this_machines_administrator(filled: App, mode: str) -> None:
    async with Client(started(), mode=mode) as client:
        assert [each.name for each in (await client.list_tools()).tools] == ["search", "ask", "read", "list"]
        found = await client.call_tool("search", {"query": "warranty"})
        assert "two years" in text_of(found)
        assert found.structured_content["passages"][0]["document"] == "warranty.md"
        answered = await client.call_tool("ask", {"question": "How long is the warranty?"})
        assert answered.structured_content["outcome"] == "answered"
        refused = await client.call_tool("read", {"document": "doc_none"})
        assert refused.is_error
        assert "list what is there" in text_of(refused)


async def test_the_key_in_the_environment_decides_what_is_seen(filled: App) -> None:
    async with Client(started(KEEPSTONE_API_KEY=key_of(filled.runtime, "mallory", ("read",)))) as client:
        assert (await client.call_tool("list", {})).structured_content["collections"] == []
        assert (await client.call_tool("search", {"query": "warranty"})).structured_content == {"passages": []}
    async with Client(started(KEEPSTONE_API_KEY="ks_wrong")) as client:
        refused = await client.call_tool("list", {})
        assert refused.is_error
        assert "keepstone keys create" in text_of(refused)


async def test_without_an_app_the_tools_are_told_and_calls_name_the_fix() -> None:
    """A program may be started before Keepstone is."""
    async with Client(started()) as client:
        assert len((await client.list_tools()).tools) == 4
        refused = await client.call_tool("list", {})
        assert refused.is_error
        assert "keepstone up" in text_of(refused)


@pytest.mark.parametrize("end", ["end of input", "Ctrl-C"])
def test_the_command_ends_when_it_should(end: str) -> None:
    asked = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    parameters = started()
    process = subprocess.Popen(
        [parameters.command, *parameters.args],
        env=os.environ | (parameters.env or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "keepstone"
        if end == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            process.stdin.close()
        assert process.wait(20) == (-signal.SIGINT if end == "Ctrl-C" else 0)

"""The official MCP client against the real app, by both ways in."""

from __future__ import annotations

import sys

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from benchmarks.app import App
from benchmarks.smoke import COLLECTION

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

QUESTION = "Is it OK to wipe the balance with acetone?"
MANUAL = "Corvan 220 User Manual.pdf"


async def told(client: Client) -> None:
    """Find, read and ask, as a foreign agent would."""
    listed = (await client.call_tool("list", {})).structured_content
    assert COLLECTION in [each["name"] for each in listed["collections"]]
    found = (await client.call_tool("search", {"query": QUESTION, "k": 3})).structured_content["passages"]
    assert MANUAL in [each["document"] for each in found]
    place = found[0]
    span = {"start": place["start"], "length": place["end"] - place["start"]}
    read = (await client.call_tool("read", {"document": place["document_id"], **span})).structured_content
    assert read["text"] == place["text"]
    answered = (await client.call_tool("ask", {"question": QUESTION, "collections": [COLLECTION]})).structured_content
    assert answered["outcome"] == "answered"
    assert MANUAL in [each["document"] for each in answered["sources"]]


async def test_by_the_command(app: App) -> None:
    environment = {name: value for name, value in app.environment.items() if name.startswith("KEEPSTONE_")}
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "keepstone.ui.cli.main", "mcp"],
        env=environment | {"KEEPSTONE_API_KEY": app.key},
    )
    async with Client(command) as client:
        await told(client)


async def test_by_http(app: App) -> None:
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {app.key}"}, timeout=300) as http,
        Client(streamable_http_client(f"{app.url}/mcp", http_client=http)) as client,
    ):
        await told(client)

"""MCP over HTTP, driven by the official client, of both kinds that there are: with and without a handshake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import httpx2
import pytest
from fastapi import FastAPI
from mcp import Client, MCPError, types
from mcp.client.streamable_http import streamable_http_client

from keepstone.platform.serving.engine import ChatRequest, Delta
from keepstone.ui.http.app import create_app
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest
from tests.ui.served import Served, client_of, key_of, served

WARRANTY = "# Warranty\n\nThe warranty lasts two years from the day of purchase.\n"
LONG = "# Care\n\n" + "Clean the filter once a month. " * 2000
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list", "arguments": {}}}
ACCEPT = {"accept": "application/json, text/event-stream"}
MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])


@pytest.fixture(scope="module")
def document(runtime: Runtime) -> str:
    """Return the id of the warranty in the administrator's collection `manual`."""
    ingest(runtime, admin(runtime), "manual", {"warranty.md": WARRANTY.encode(), "care.md": LONG.encode()})
    return next(each.id for each in runtime.library.documents(admin(runtime), "manual") if each.name == "warranty.md")


@pytest.fixture(scope="module")
def server(runtime: Runtime, document: str) -> Iterator[Served]:
    """Serve the app on a port."""
    assert document
    with served(create_app(runtime, web=False)) as server:
        yield server


@asynccontextmanager
async def connected(server: Served, key: str, mode: str = "auto") -> AsyncIterator[Client]:
    """Return the official client, with a key."""
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=30) as http,
        Client(streamable_http_client(f"{server.url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def text_of(result: types.CallToolResult) -> str:
    """Return what a language model is shown of a result."""
    assert isinstance(result.content[0], types.TextContent)
    return result.content[0].text


@MODES
async def test_the_four_tools_do_their_work(server: Served, admin_key: str, document: str, mode: str) -> None:
    async with connected(server, admin_key, mode) as client:
        assert client.server_info is not None
        assert client.server_info.name == "keepstone"
        tools = {each.name: each for each in (await client.list_tools()).tools}
        assert list(tools) == ["search", "ask", "read", "list"]
        assert all(each.annotations and each.annotations.read_only_hint for each in tools.values())

        listed = await client.call_tool("list", {})
        assert listed.structured_content["collections"][0]["name"] == "manual"
        inside = await client.call_tool("list", {"collection": "manual", "containing": "warr"})
        assert inside.structured_content["documents"][0]["document_id"] == document

        found = await client.call_tool("search", {"query": "How long is the warranty?", "k": 1})
        passage = found.structured_content["passages"][0]
        assert passage["document_id"] == document
        assert "two years" in text_of(found)

        span = {"start": passage["start"], "length": passage["end"] - passage["start"]}
        read = await client.call_tool("read", {"document": document, **span})
        assert read.structured_content["text"] == passage["text"]

        answered = await client.call_tool("ask", {"question": "How long is the warranty?", "collections": ["manual"]})
        assert answered.structured_content["outcome"] == "answered"
        assert answered.structured_content["sources"][0]["document"] == "warranty.md"
        assert "[1] warranty.md" in text_of(answered)


@MODES
async def test_nothing_of_another_principal_leaks(server: Served, runtime: Runtime, document: str, mode: str) -> None:
    """Not by search, by name, by id, in an answer or in an error."""
    async with connected(server, key_of(runtime, "mallory"), mode) as client:
        listed = await client.call_tool("list", {})
        assert listed.structured_content == {"collections": [], "documents": [], "next": None}
        found = await client.call_tool("search", {"query": "How long is the warranty?"})
        assert found.structured_content == {"passages": []}
        answered = await client.call_tool("ask", {"question": "How long is the warranty?"})
        assert answered.structured_content["sources"] == []
        assert "two years" not in text_of(answered)
        for name, arguments in (
            ("read", {"document": document}),
            ("list", {"collection": "manual"}),
            ("search", {"query": "warranty", "collections": ["manual"]}),
            ("ask", {"question": "warranty?", "collections": ["manual"]}),
        ):
            refused = await client.call_tool(name, arguments)
            assert refused.is_error
            assert text_of(refused).startswith("No "), name
            assert "warranty.md" not in text_of(refused)
            made_up = await client.call_tool(name, {key: _made_up(value) for key, value in arguments.items()})
            assert _without_names(text_of(made_up)) == _without_names(text_of(refused)), "absent and foreign differ"


def _made_up(value: object) -> object:
    return (
        {"manual": "absent"}.get(value, "doc_0" if str(value).startswith("doc_") else value)
        if isinstance(value, str)
        else ["absent"]
    )


def _without_names(text: str) -> str:
    return text.partition("'")[0] + text.rpartition("'")[2]


async def test_a_permission_that_is_taken_away_counts_at_once(server: Served, runtime: Runtime, document: str) -> None:
    key = key_of(runtime, "rita", ("read",))
    runtime.library.grant(admin(runtime), "manual", "rita", "reader")
    async with connected(server, key, "legacy") as client:
        assert not (await client.call_tool("read", {"document": document})).is_error
        runtime.library.revoke(admin(runtime), "manual", "rita")
        assert (await client.call_tool("read", {"document": document})).is_error


async def test_a_key_without_the_scope_read_reads_nothing(server: Served, runtime: Runtime, document: str) -> None:
    async with connected(server, key_of(runtime, "admin", ("write",))) as client:
        for name, arguments in (("list", {}), ("read", {"document": document}), ("search", {"query": "warranty"})):
            refused = await client.call_tool(name, arguments)
            assert refused.is_error
            assert "scope 'read'" in text_of(refused)


async def test_without_a_credential_or_with_a_wrong_one_nothing_is_answered(server: Served) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        for headers in ({}, {"authorization": "Bearer ks_wrong"}):
            refused = await client.post("/mcp", json=CALL, headers=ACCEPT | headers)
            assert refused.status_code == 401
            assert "keepstone keys create" in refused.json()["error"]["fix"]
    with pytest.raises(ExceptionGroup) as raised:
        async with connected(server, "ks_wrong") as client:
            await client.list_tools()
    assert raised.value.subgroup(MCPError)


async def test_foreign_hosts_and_origins_are_refused(app: FastAPI, runtime: Runtime, admin_key: str) -> None:
    """A page of another site that rebinds its name, or rides the session cookie, gets nothing."""
    async with client_of(app, admin_key, host="evil.example") as client:
        assert (await client.post("/mcp", json=CALL, headers=ACCEPT)).status_code == 400
    cookie = {"cookie": f"keepstone_8080={key_of(runtime)}"}
    async with client_of(app, origin="https://evil.example", **cookie) as client:
        assert (await client.post("/mcp", json=CALL, headers=ACCEPT)).status_code == 403


async def test_there_are_no_sessions_to_steal_and_no_streams_to_hold(server: Served, admin_key: str) -> None:
    headers = ACCEPT | {"authorization": f"Bearer {admin_key}"}
    begun = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
        answer = await client.post("/mcp", json=begun)
        assert answer.status_code == 200
        assert "mcp-session-id" not in answer.headers
        assert (await client.get("/mcp")).status_code == 405
        assert (await client.delete("/mcp")).status_code == 405


async def test_bodies_are_bounded_and_answers_not_kept(app: FastAPI, server: Served, admin_key: str) -> None:
    async with client_of(app, admin_key) as client:
        refused = await client.post("/mcp", content=b"[" * (5 * 2**20))
        assert refused.status_code == 413
    headers = ACCEPT | {"authorization": f"Bearer {admin_key}", "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
        for nonsense in (b"", b"{", b"[]", b'{"id": 1}', b"[" * 100_000):
            answer = await client.post("/mcp", content=nonsense)
            assert answer.status_code in (200, 202, 400), nonsense[:10]
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert answer.headers["cache-control"].startswith("no-")


async def test_wrong_arguments_are_told_with_their_fix(server: Served, admin_key: str, document: str) -> None:
    async with connected(server, admin_key) as client:
        for name, arguments, said in (
            ("search", {}, "query: Field required"),
            ("search", {"query": "x", "k": 1000}, "less than or equal to 20"),
            ("search", {"query": "x", "limit": 3}, "limit: Extra inputs are not permitted"),
            ("search", {"query": "   "}, "The query is empty"),
            ("search", {"query": "x", "collections": ["manua"]}, "Did you mean 'manual'?"),
            ("ask", {"question": " "}, "Type a question"),
            ("read", {"document": "doc_none"}, "list what is there"),
            ("read", {"document": document, "page": 3}, "It has no pages"),
            ("read", {"document": document, "start": 10_000}, f"It has {len(WARRANTY.strip())}"),
            ("serach", {}, "Did you mean 'search'?"),
        ):
            refused = await client.call_tool(name, arguments)
            assert refused.is_error
            assert said in text_of(refused), (name, arguments, text_of(refused))


async def test_a_long_document_is_read_piece_by_piece(server: Served, runtime: Runtime, admin_key: str) -> None:
    whole = next(each for each in runtime.library.documents(admin(runtime), "manual") if each.name == "care.md")
    pieces, start = [], 0
    async with connected(server, admin_key) as client:
        while start is not None:
            read = await client.call_tool("read", {"document": whole.id, "start": start, "length": 20_000})
            assert len(read.structured_content["text"]) <= 20_000
            pieces.append(read.structured_content["text"])
            start = read.structured_content["next"]
    assert len(pieces) > 1
    assert "".join(pieces) == runtime.library.document_text(admin(runtime), whole.id).text


async def test_lists_go_on_where_they_ended(server: Served, admin_key: str) -> None:
    async with connected(server, admin_key) as client:
        first = await client.call_tool("list", {"collection": "manual", "limit": 1})
        assert [each["name"] for each in first.structured_content["documents"]] == ["care.md"]
        following = {"collection": "manual", "limit": 1, "after": first.structured_content["next"]}
        second = await client.call_tool("list", following)
        assert [each["name"] for each in second.structured_content["documents"]] == ["warranty.md"]
        assert second.structured_content["next"] is None


async def test_an_engine_that_is_down_is_told(
    server: Served, admin_key: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.engine, "available", False)
    async with connected(server, admin_key) as client:
        refused = await client.call_tool("ask", {"question": "How long is the warranty?"})
        assert refused.is_error
        assert "keepstone status" in text_of(refused)
        assert not (await client.call_tool("search", {"query": "warranty"})).is_error


async def test_what_nobody_foresaw_says_nothing_of_the_inside(
    server: Served, admin_key: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(runtime.library, "collections", broken)
    async with connected(server, admin_key) as client:
        refused = await client.call_tool("list", {})
        assert refused.is_error
        assert "swordfish" not in text_of(refused)


@MODES
async def test_a_client_that_leaves_stops_the_answer(
    server: Served, admin_key: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    stopped: list[str] = []

    async def stream_chat(request: ChatRequest) -> AsyncIterator[Delta]:
        try:
            await asyncio.sleep(3600)
            yield Delta("never")
        except asyncio.CancelledError:
            stopped.append("stopped")
            raise

    monkeypatch.setattr(runtime.engine, "stream_chat", stream_chat)
    async with connected(server, admin_key, mode) as client:
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool("ask", {"question": "How long?"}, read_timeout_seconds=1.0)
    for _ in range(100):
        if stopped:
            break
        await asyncio.sleep(0.05)
    assert stopped == ["stopped"]

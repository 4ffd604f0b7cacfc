"""`keepstone mcp`: the tools of the running app over stdin and stdout, for programs that start their MCP servers.

It tells of the tools by itself and passes each call on to the app's `/mcp`, so the app may start later, or again.
"""

from __future__ import annotations

import os
import signal
import ssl
from typing import TYPE_CHECKING, Any

from keepstone.platform.errors import KeepstoneError, Unavailable
from keepstone.ui.cli.client import bearer, error_of
from keepstone.ui.cli.context import hush, load_settings
from keepstone.ui.running import find_app
from keepstone.ui.version import version

if TYPE_CHECKING:
    import httpx2
    from mcp.server.context import ServerRequestContext
    from mcp.types import CallToolResult

    from keepstone.platform.settings import Settings


def mcp() -> None:
    """Serve your documents to a program that speaks MCP, over stdin and stdout.

    That program starts this command; Keepstone itself has to be running. It acts as this machine's administrator or,
    with KEEPSTONE_API_KEY, as the owner of that key.
    """
    import anyio

    settings = load_settings()
    hush(settings)
    # A thread waits for the next line, and Python would wait for that thread; nothing here needs closing.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    anyio.run(_serve, settings)


async def _serve(settings: Settings) -> None:
    from mcp.server.stdio import stdio_server

    from keepstone.agents.mcp.server import create_server

    async def call(ctx: ServerRequestContext[Any, Any], name: str, arguments: dict[str, Any]) -> CallToolResult:
        del ctx
        return await _passed_on(settings, name, arguments)

    server = create_server(call, version=version())
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


async def _passed_on(settings: Settings, name: str, arguments: dict[str, Any]) -> CallToolResult:
    """Return what the app answers to a call.

    Raises:
        Unavailable: no app runs, or it does not answer.
        KeepstoneError: it refused the request.
    """
    import httpx2
    from mcp import Client, MCPError
    from mcp.client.streamable_http import streamable_http_client
    from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult
    from mcp.types.version import LATEST_MODERN_VERSION

    app = find_app(settings.home)
    if app is None:
        raise Unavailable("Keepstone is not running", fix="Start it: `keepstone up --detach`")
    refusals: list[KeepstoneError] = []

    async def note_refusal(response: httpx2.Response) -> None:
        if response.is_error:
            await response.aread()
            refusals.append(error_of(response))

    key = os.environ.get("KEEPSTONE_API_KEY") or app.key
    request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=arguments))
    try:
        async with (
            httpx2.AsyncClient(
                headers=bearer(key),
                timeout=httpx2.Timeout(settings.engine.request_timeout_s, connect=5.0),
                trust_env=False,
                # The app speaks plain HTTP; to load the certificate authorities takes longer than most calls.
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                event_hooks={"response": [note_refusal]},
            ) as http,
            Client(
                streamable_http_client(f"{app.url}/mcp", http_client=http), mode=LATEST_MODERN_VERSION, cache=None
            ) as client,
        ):
            return await client.session.send_request(request, CallToolResult)
    except (MCPError, httpx2.HTTPError, ExceptionGroup) as error:
        if refusals:
            raise refusals[-1] from error
        raise Unavailable("Keepstone does not answer", fix="Look at `keepstone status`") from error

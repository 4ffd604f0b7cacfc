"""`/mcp`: the tools of `keepstone.agents.mcp` over MCP's streamable HTTP.

Every request carries its credential past the gate and is answered for that principal; there are no sessions that one
could keep, steal or outlive. The gate has checked host and origin too, so the SDK's own check of them is off.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from keepstone.platform.errors import Unavailable
from keepstone.ui.http.dependencies import current_principal
from keepstone.ui.http.shield import JSON_BODY_LIMIT, MCP_PATH
from keepstone.ui.version import version

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp.types import CallToolResult

    from keepstone.ui.runtime import Runtime


class McpEndpoint:
    """An ASGI app that serves MCP while `serving` is open.

    Args:
        runtime: the services.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._manager: StreamableHTTPSessionManager | None = None

    @property
    def route(self) -> Route:
        """Where it is reached. The server begins nothing by itself, so there is no stream to GET."""
        return Route(MCP_PATH, endpoint=self, methods=["POST"])

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve until the block ends."""
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        from mcp.server.transport_security import TransportSecuritySettings

        manager = StreamableHTTPSessionManager(
            _server(self._runtime),
            stateless=True,
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            max_request_body_size=JSON_BODY_LIMIT,
        )
        async with manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._manager is None:
            raise Unavailable("MCP is not being served", fix="Start Keepstone: `keepstone up`")
        await self._manager.handle_request(scope, receive, send)


def _server(runtime: Runtime) -> Server[Any]:
    from keepstone.agents.mcp.knowledge import Knowledge
    from keepstone.agents.mcp.server import create_server, succeeded

    knowledge = Knowledge(
        database=runtime.database, library=runtime.library, searcher=runtime.searcher, answerer=runtime.answerer
    )

    async def call(ctx: ServerRequestContext[Any, Any], name: str, arguments: dict[str, Any]) -> CallToolResult:
        assert ctx.request is not None  # over HTTP there always is one
        return succeeded(await knowledge.call(current_principal(ctx.request), name, arguments))

    return create_server(call, version=version())

"""A foreign MCP server: connected to at the first need, and anew after it failed.

    server = ForeignServer("wiki", settings.mcp.servers["wiki"])
    result = await server.call("find", {"query": "warranty"})

What it sends is bounded and never trusted. A server that dies, hangs or answers nonsense in mid-call costs that call
only: the connection is dropped, with the process behind it, and the next call makes another, later and later while
that fails. All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2
import structlog
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import (
    CONNECTION_CLOSED,
    INVALID_REQUEST,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    ListToolsRequest,
    ListToolsResult,
    PaginatedRequestParams,
    Request,
    Tool,
)
from pydantic import BaseModel

from keepstone.agents.mcp.stdio import MAX_LINE_BYTES, program_transport
from keepstone.platform.errors import KeepstoneError, Unavailable
from keepstone.platform.settings import McpServerSettings

MAX_RESPONSE_BYTES = MAX_LINE_BYTES
_MAX_PAGES = 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
# So long a call waits for a server that has just failed; while the pause is longer, it is refused at once.
_PATIENCE_S = 2.0
_MESSAGE_CHARS = 500
_BROKE_OFF = f"broke off in mid-call, or answered more than {MAX_RESPONSE_BYTES >> 20} MiB"

ResultT = TypeVar("ResultT", bound=BaseModel)
log = structlog.get_logger(__name__)


class ForeignServer:
    """The connection to one server of `mcp.servers`.

    Args:
        name: under which the settings list it.
        settings: how it is reached.
        clock: seconds that only grow.
    """

    def __init__(self, name: str, settings: McpServerSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.settings = settings
        self._clock = clock
        self._connecting = asyncio.Lock()
        self._client: Client | None = None
        self._holder: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._listed: list[Tool] | None = None
        self._failures = 0
        self._not_before = 0.0

    async def tools(self) -> list[Tool]:
        """Return the tools that it offers, as it told them when it was connected to.

        Raises:
            Unavailable: it does not answer.
        """
        if self._listed is None:
            listed: list[Tool] = []
            cursor: str | None = None
            for _ in range(_MAX_PAGES):
                asked = ListToolsRequest(params=PaginatedRequestParams(cursor=cursor))
                page = await self._request(asked, ListToolsResult)
                listed += page.tools
                cursor = page.next_cursor
                if cursor is None:
                    break
            self._listed = listed
        return self._listed

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call one of its tools.

        Raises:
            Unavailable: it died, hung or answered nonsense, and is connected to anew at the next call.
            KeepstoneError: it refused the call.
        """
        asked = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
        return await self._request(asked, CallToolResult)

    async def close(self) -> None:
        """End the connection, and the process behind it."""
        self._let_go()
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _request(self, asked: Request[Any, Any], kind: type[ResultT]) -> ResultT:
        client = await self._connected()
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                result = await client.session.send_request(asked, kind)
        except TimeoutError as error:
            raise self._failed(client, f"took longer than {self.settings.timeout_s:g} seconds") from error
        except MCPError as error:
            if error.code in (CONNECTION_CLOSED, INVALID_REQUEST):
                raise self._failed(client, _BROKE_OFF) from error
            told = " ".join(error.message.split())[:_MESSAGE_CHARS]
            raise KeepstoneError(f"The MCP server {self.name!r} refused the call: {told}") from error
        except Exception as error:  # a foreign server may break anything in the client
            raise self._failed(client, f"answered what cannot be read ({type(error).__name__})") from error
        self._failures = 0
        return result

    async def _connected(self) -> Client:
        """Return the open connection, or open one, unless that failed a moment ago."""
        async with self._connecting:
            if self._client is not None and self._holder is not None and not self._holder.done():
                return self._client
            pause = self._not_before - self._clock()
            if pause > _PATIENCE_S:
                raise Unavailable(
                    f"The MCP server {self.name!r} failed; it is tried again in {pause:.0f} seconds",
                    fix=f"Check mcp.servers.{self.name} in keepstone.toml",
                )
            await asyncio.sleep(max(pause, 0.0))
            return await self._connect()

    async def _connect(self) -> Client:
        ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._let_go()
        self._holder = asyncio.create_task(self._hold(ready), name=f"mcp-{self.name}")
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                self._client = await ready
        except TimeoutError as error:
            raise self._failed(None, f"did not begin within {self.settings.timeout_s:g} seconds") from error
        except asyncio.CancelledError:
            self._let_go()
            raise
        except Exception as error:  # a program that is missing, an address where nobody listens, nonsense
            raise self._failed(None, f"cannot be reached ({_innermost(error)})") from error
        log.info("mcp.connected", server=self.name)
        return self._client

    async def _hold(self, ready: asyncio.Future[Client]) -> None:
        """Keep the connection open until it ends; a context of the SDK must be left by the task that entered it."""
        ended = asyncio.Event()
        try:
            async with _opened(self.settings, ended) as client:
                ready.set_result(client)
                await ended.wait()
        except Exception as error:  # told to the one who waits for the connection, or to the call under way
            if ready.done():
                log.info("mcp.broke_off", server=self.name, error=_innermost(error))
            else:
                ready.set_exception(error)

    def _failed(self, client: Client | None, what: str) -> Unavailable:
        """Drop the connection and say so; calls that failed together on one connection count once."""
        if client is self._client:
            self._failures += 1
            pause = min(_FIRST_PAUSE_S * 2 ** (self._failures - 1), _LONGEST_PAUSE_S)
            self._not_before = self._clock() + pause
            self._let_go()
            log.warning("mcp.failed", server=self.name, reason=what, failures=self._failures, pause_s=pause)
        return Unavailable(
            f"The MCP server {self.name!r} {what}", fix=f"Check mcp.servers.{self.name} in keepstone.toml"
        )

    def _let_go(self) -> None:
        holder, self._holder, self._client, self._listed = self._holder, None, None, None
        if holder is not None and not holder.done():
            holder.cancel()
            self._ending.add(holder)
            holder.add_done_callback(self._ending.discard)


@asynccontextmanager
async def _opened(settings: McpServerSettings, ended: asyncio.Event) -> AsyncIterator[Client]:
    """Connect. `ended` is set when a program ends; that an address answers no more shows at the next call."""
    if settings.url is None:
        environment = {name: value.get_secret_value() for name, value in settings.environment.items()}
        async with Client(program_transport(settings.command, environment, ended), cache=None) as client:
            yield client
        return
    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    timeout = httpx2.Timeout(settings.timeout_s)
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout, transport=_Bounded(httpx2.AsyncHTTPTransport())) as http,
        Client(streamable_http_client(settings.url, http_client=http), cache=None) as client,
    ):
        yield client


class _Bounded(httpx2.AsyncBaseTransport):
    """Cuts off answers that are too long, and refuses those that would have to be unpacked."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["accept-encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.stream.aclose()
            raise httpx2.ProtocolError("the answer is compressed", request=request)
        response.stream = _BoundedStream(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_RESPONSE_BYTES
        async for piece in self._inner:
            left -= len(piece)
            if left < 0:
                raise httpx2.ReadError(f"the answer is longer than {MAX_RESPONSE_BYTES} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


def _innermost(error: BaseException) -> str:
    """Return the name of what went wrong inside the groups that tasks wrap it in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__

"""A real OpenAI-compatible server on a loopback port, for tests: around a scripted engine, or saying raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from keepstone.platform.errors import EngineUnavailable
from keepstone.platform.serving.scripted import ScriptedEngine


@asynccontextmanager
async def serve_engine(script: ScriptedEngine) -> AsyncIterator[str]:
    """Serve the script; yields the base URL with /v1."""

    async def complete(request: Request) -> Response:
        try:
            forwarded = await script.forward(request.url.path.removeprefix("/v1"), await request.json())
        except EngineUnavailable as error:
            return JSONResponse({"error": {"message": str(error)}}, status_code=503)
        return StreamingResponse(forwarded.body, forwarded.status, media_type=forwarded.media_type)

    async def health(request: Request) -> Response:
        return Response(status_code=200 if script.available else 503)

    app = Starlette(
        routes=[Route("/health", health), Route("/v1/{rest:path}", complete, methods=["POST"])],
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        await serving


Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serve_raw(handler: Handler) -> AsyncIterator[str]:
    """Serve what `handler(request, reader, writer)` writes, then hang up; yields the base URL with /v1."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                ),
                0,
            )
            await handler(head + await reader.readexactly(length), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def http_answer(status: str, body: bytes, media_type: str = "application/json", extra: str = "") -> bytes:
    """Return a whole HTTP/1.1 answer with its length."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body

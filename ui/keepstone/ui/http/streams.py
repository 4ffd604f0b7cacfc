"""Server-sent events, and work that ends when its client leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeVar

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from keepstone.platform.errors import KeepstoneError
from keepstone.ui.http.errors import described

log = structlog.get_logger(__name__)

T = TypeVar("T")
DONE: Final = b"data: [DONE]\n\n"


def event(data: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def error_event(error: KeepstoneError) -> bytes:
    """Return the event that tells the client of an error in the middle of a stream, as OpenAI's clients know it."""
    return event(described(error))


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancel it when the client leaves first.

    Args:
        receive: the request's ASGI channel, its body read.
        work: what to do for the client.

    Raises:
        ClientDisconnect: the client left.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


class EventResponse(Response):
    """Streams server-sent events; its generator is closed as soon as the client leaves.

    Args:
        events: the events, encoded, at least one. A later error that it raises becomes the last event.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events. An error before the first one is raised, so that it becomes an answer with its status."""
        del scope
        await unless_disconnected(receive, self._pass_on(send))

    async def _pass_on(self, send: Send) -> None:
        # One task pulls and closes the generator: what it holds open (timeouts, scopes) belongs to a task.
        async with aclosing(self._events) as events:
            first = await anext(events)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            try:
                async for each in events:
                    await send({"type": "http.response.body", "body": each, "more_body": True})
            except KeepstoneError as error:
                log.warning("http.stream_broke", code=error.code, reason=error.message)
                await send({"type": "http.response.body", "body": error_event(error), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

"""The app inside this process, for commands while no app runs: same routes, same rules, no engine and no port."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from keepstone.platform import logs
from keepstone.ui.cli.client import bearer
from keepstone.ui.http.app import create_app
from keepstone.ui.local_key import local_key
from keepstone.ui.runtime import Runtime

if TYPE_CHECKING:
    from keepstone.platform.settings import Settings


class InProcessTransport(httpx.BaseTransport):
    """Carries requests of a blocking client to an ASGI app whose event loop runs in another thread."""

    def __init__(self, app: object, portal: BlockingPortal) -> None:
        self._inner = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        self._portal = portal

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the whole answer."""
        return self._portal.call(self._handle, request)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


@contextlib.contextmanager
def serve_in_process(settings: Settings) -> Iterator[httpx.Client]:
    """Return a client of the app in this process, which holds the home's lock until the block ends."""
    logs.configure(settings.logging.model_copy(update={"level": "error"}))
    with Runtime.open(settings) as runtime, local_key(runtime.database) as key, start_blocking_portal() as portal:
        transport = InProcessTransport(create_app(runtime, web=False), portal)
        with httpx.Client(transport=transport, base_url=settings.app_url, headers=bearer(key), timeout=3600) as http:
            yield http

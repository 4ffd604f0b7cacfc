"""The app inside this process, for commands while no app runs: same routes, same rules, no engine and no port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from keepstone.platform.settings import Settings
from keepstone.ui.cli.client import bearer
from keepstone.ui.cli.context import hush
from keepstone.ui.http.app import create_app
from keepstone.ui.local_key import local_key
from keepstone.ui.runtime import Runtime

open_runtime: Callable[[Settings], AbstractContextManager[Runtime]] = Runtime.open
"""Builds the services; tests put one with lighter models here."""


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


@contextmanager
def serve_in_process(settings: Settings) -> Iterator[httpx.Client]:
    """Return a client of the app in this process, which holds the home's lock until the block ends."""
    hush(settings)
    with open_runtime(settings) as runtime, local_key(runtime.database) as key, start_blocking_portal() as portal:
        app = create_app(runtime, web=False)
        transport = InProcessTransport(app, portal)
        with (
            closing(app.state.lookups),
            httpx.Client(transport=transport, base_url=settings.app_url, headers=bearer(key), timeout=3600) as http,
        ):
            yield http

"""The gate: every request passes it, and nothing passes without a known host and a principal, but a few public paths.

It is an ASGI middleware rather than a dependency of each route, so that a forgotten dependency, a mounted app or a
static file cannot be open by accident. The principal is left in `request.state.principal`.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from keepstone.platform.errors import KeepstoneError, Unauthenticated
from keepstone.ui.http.auth import Authenticator
from keepstone.ui.http.errors import error_response
from keepstone.ui.http.origins import OriginGuard, is_local_client

PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz", "/login", "/login.js", "/logout", "/favicon.ico"})
_LOCAL_PATHS: Final = frozenset({"/metrics"})


class Gate:
    """Lets requests in.

    Args:
        app: what lies behind the gate.
        authenticator: knows credentials.
        guard: knows hosts and origins.
    """

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator, guard: OriginGuard) -> None:
        self._app = app
        self._authenticator = authenticator
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with what is wrong."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        try:
            self._guard.check_host(request)
            await self._admit(request)
        except KeepstoneError as error:
            await _refusal(request, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, request: HTTPConnection) -> None:
        # Not `request.url.path`, from which the parser of URLs drops line breaks that the routes see.
        path = request.scope["path"]
        request.state.principal = None
        try:
            identity = await self._authenticator.identify(request)
        except Unauthenticated:
            if path in PUBLIC_PATHS:
                self._guard.check_origin(request)
                return
            if path in _LOCAL_PATHS and is_local_client(request):
                return
            raise
        if identity.ambient:
            self._guard.check_origin(request)
        request.state.principal = identity.principal


def _refusal(request: Request, error: KeepstoneError) -> Response:
    """Return the answer to a request that is not let in: the login page for a person, an error for a program."""
    person = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if isinstance(error, Unauthenticated) and person and not request.url.path.startswith("/v1/"):
        return RedirectResponse("/login", status_code=303, headers={"cache-control": "no-store"})
    return error_response(error)

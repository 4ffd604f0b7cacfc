"""The outermost layer: limits on bodies, headers that keep browsers safe, and the last catch of unexpected errors."""

from __future__ import annotations

import re
import time
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keepstone.platform import metrics
from keepstone.platform.logs import request_context
from keepstone.ui.http.errors import BodyTooLarge, error_body, http_error_response
from keepstone.ui.http.gate import PUBLIC_PATHS

log = structlog.get_logger(__name__)

JSON_BODY_LIMIT: Final = 4 * 2**20
# Of those who have not signed in, as many may come as like.
_PUBLIC_BODY_LIMIT: Final = 2**16
MCP_PATH: Final = "/mcp"
_UPLOAD: Final = re.compile(r"/v1/collections/[^/]+/documents|/gradio_api/upload/?")
_API_CSP: Final = "default-src 'none'; frame-ancestors 'none'"
# Gradio starts itself by inline scripts and styles. Images and connections stay with this server, so that nothing a
# model writes can carry data elsewhere.
PAGE_CSP: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; media-src 'self' blob: data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
_SECONDS = metrics.histogram("http_request_seconds", "Time until an answer was sent whole", "method", "route", "status")
_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Shield:
    """Guards `app` against bodies that are too large, and clients against errors that say too much.

    Args:
        app: what lies behind.
        max_body_bytes: largest body of an upload, whose parts go to the disk. Other bodies, which are held in memory,
            may have `JSON_BODY_LIMIT`, and far less where nobody need sign in.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with request_context(Headers(scope=scope).get("x-request-id")) as request_id:
            await self._serve(scope, _Exchange(scope, receive, send, self._limit(scope), request_id))

    async def _serve(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            exchange.check_declared_length()
            await self._app(scope, exchange.receive, exchange.send)
        except BodyTooLarge as error:
            await exchange.answer(http_error_response(scope["path"], error))
        except ClientDisconnect:
            log.info("http.client_left", path=scope["path"])
        except Exception:
            # A process boundary: the client learns the request's id, the log everything else.
            log.exception("http.failed", path=scope["path"])
            fix = f"Tell the administrator the request's id, {exchange.request_id}; the log has the rest"
            body = error_body(500, "Something went wrong in Keepstone", "internal_error", fix=fix)
            await exchange.answer(JSONResponse(body, 500))
        finally:
            exchange.record()

    def _limit(self, scope: Scope) -> int:
        if scope["path"] in PUBLIC_PATHS:
            return _PUBLIC_BODY_LIMIT
        is_form = Headers(scope=scope).get("content-type", "").lower().startswith("multipart/")
        is_upload = is_form and _UPLOAD.fullmatch(scope["path"])
        return self._max_body_bytes if is_upload else min(JSON_BODY_LIMIT, self._max_body_bytes)


class _Exchange:
    """One request and its answer, seen from outside."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int, request_id: str) -> None:
        self.request_id = request_id
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = limit
        self._received = 0
        self._started_at = time.perf_counter()
        self._status: int | None = None

    def check_declared_length(self) -> None:
        declared = Headers(scope=self._scope).get("content-length", "")
        if declared.isdigit() and int(declared) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            api = _is_api(self._scope["path"])
            headers.setdefault("content-security-policy", _API_CSP if api else PAGE_CSP)
            if api:
                headers.setdefault("cache-control", "no-store")
            headers["x-request-id"] = self.request_id
        await self._send(message)

    async def answer(self, response: JSONResponse) -> None:
        """Send `response`, unless another answer is under way: then the connection is cut by raising."""
        if self._status is not None:
            raise ConnectionAbortedError("the answer broke off")
        response.headers["connection"] = "close"
        await response(self._scope, self._receive, self.send)

    def record(self) -> None:
        seconds = time.perf_counter() - self._started_at
        method, path = self._scope["method"], self._scope["path"]
        # Labels must be few: a route's pattern, never the path itself.
        route = getattr(self._scope.get("route"), "path", None) if _is_api(path) else None
        _SECONDS.labels(method if method in _METHODS else "other", route or "other", self._status or 0).observe(seconds)
        log.debug("http.request", method=method, path=path, status=self._status, seconds=round(seconds, 4))

    def _too_large(self) -> BodyTooLarge:
        fix = "Send less at once; uploads may have app.max_body_mb (keepstone.toml)"
        return BodyTooLarge(self._limit, fix)


def _is_api(path: str) -> bool:
    """Tell whether programs, rather than browsers, are served there."""
    return path.startswith("/v1/") or path == MCP_PATH

"""What of Gradio may be reached, and under which rules the browser runs it.

Gradio serves more than these pages need: a fetcher of remote files, a proxy, its API's description, monitoring. Only
the listed paths pass, and files only from those who may write. Pages get a content security policy whose scripts need
a nonce, so that markup which slipped through every other defence still could not run.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keepstone.platform.errors import KeepstoneError, NotFound
from keepstone.ui.http.dependencies import current_principal
from keepstone.ui.http.errors import error_response

_UPLOAD: Final = "/gradio_api/upload"
_PATHS: Final = "GET /openapi.json lists the API's paths and methods"
_ALLOWED: Final = {
    "GET": re.compile(
        r"/|/theme\.css|/config|/favicon\.ico|/(?:static|assets|svelte)/[\w./@+-]+"
        r"|/gradio_api/(?:queue/data|upload_progress|heartbeat/[\w-]+|startup-events|app_id|theme\.css)/?"
    ),
    "POST": re.compile(r"/gradio_api/(?:queue/join|cancel|reset|upload)/?"),
}
# Gradio compiles its templates and our event scripts in the browser, hence 'unsafe-eval'. Images, fonts and connections
# stay with this server, so that nothing a model writes can carry data elsewhere.
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
# Gradio's page names its social-media picture and its site; that is not ours to advertise.
_ADVERTISING: Final = re.compile(rb'<meta\s[^>]*(?:property="og:|name="twitter:)[^>]*>\s*')
_MANIFEST: Final = re.compile(rb'<link rel="manifest"[^>]*>\s*')


class GradioGuard:
    """ASGI middleware around Gradio's own app.

    Args:
        app: Gradio's app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        allowed = _ALLOWED.get(method)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if allowed is None or ".." in path or not allowed.fullmatch(path or "/"):
            # What the API does not serve comes here, too: unknown paths under /v1, and known ones by another method.
            wanted = path[:200] if scope["method"] == "GET" else f"{scope['method']} {path[:200]}"
            await error_response(NotFound(f"No such path: {wanted}", fix=_PATHS))(scope, receive, send)
        elif path.rstrip("/") == _UPLOAD and (refused := _refused(scope)):
            await error_response(refused)(scope, receive, send)
        elif path in ("", "/"):
            await self._app(scope, receive, _PageSender(send))
        else:
            await self._app(scope, receive, send)


def _refused(scope: Scope) -> KeepstoneError | None:
    """Return why the caller may not send files, which fill the disk before a handler looks at them."""
    try:
        current_principal(HTTPConnection(scope)).needs_scope("write")
    except KeepstoneError as error:
        return error
    return None


class _PageSender:
    """Collects a page, gives its scripts a nonce, and sends it with the policy that asks for it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body") or self._start is None:
            return
        nonce = secrets.token_urlsafe(16)
        headers = MutableHeaders(scope=self._start)
        if headers.get("content-type", "").startswith("text/html"):
            self._body = _ADVERTISING.sub(b"", _MANIFEST.sub(b"", self._body))
            # The configuration inside the scripts has its `<` escaped, so every `<script` here is a tag of the page.
            self._body = self._body.replace(b"<script", f'<script nonce="{nonce}"'.encode())
            headers["content-length"] = str(len(self._body))
            headers["content-security-policy"] = _POLICY.format(nonce=nonce)
            headers["cache-control"] = "no-store"
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": self._body})

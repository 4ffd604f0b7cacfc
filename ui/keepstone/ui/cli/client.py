"""How commands reach Keepstone: over HTTP to the running app, else to the same app inside this process.

with connect() as api:
    api.get("/v1/collections")["data"]
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import RawIOBase
from typing import TYPE_CHECKING, Any

from keepstone.platform.errors import Conflict, EngineUnavailable, KeepstoneError, Unavailable
from keepstone.ui.cli.context import load_settings
from keepstone.ui.running import find_app, lock_path

if TYPE_CHECKING:
    import httpx
    import httpx2

    from keepstone.platform.settings import Settings

Upload = tuple[str, RawIOBase]


class Api:
    """Keepstone's HTTP API. Errors come back as the `KeepstoneError` that they were."""

    def __init__(self, http: httpx.Client, *, in_process: bool) -> None:
        self._http = http
        self.in_process = in_process

    def get(self, path: str, **query: Any) -> Any:
        """Return what a GET answers."""
        return self._call("GET", path, params={key: value for key, value in query.items() if value is not None})

    def text(self, path: str, **query: Any) -> str:
        """Return what a GET answers, as text."""
        return self._request("GET", path, params=query).text

    def post(self, path: str, body: Any = None) -> Any:
        """Return what a POST answers."""
        return self._call("POST", path, json=body)

    def put(self, path: str, body: Any) -> Any:
        """Return what a PUT answers."""
        return self._call("PUT", path, json=body)

    def delete(self, path: str) -> Any:
        """Return what a DELETE answers."""
        return self._call("DELETE", path)

    def upload(self, path: str, files: Sequence[Upload]) -> Any:
        """Send files, each under its name, and return the answer."""
        parts = [("files", (name, stream, "application/octet-stream")) for name, stream in files]
        return self._call("POST", path, files=parts)

    def pages(self, path: str, **query: Any) -> Iterator[Any]:
        """Yield the items of a list, page after page."""
        after: str | None = None
        while True:
            page = self.get(path, after=after, **query)
            yield from page["data"]
            after = page.get("next")
            if after is None:
                return

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the server-sent events of a streamed answer."""
        with worded_errors(), self._http.stream("POST", path, json=body) as response:
            if response.is_error:
                response.read()
                raise error_of(response)
            for line in response.iter_lines():
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or data == "[DONE]":
                    continue
                event = json.loads(data)
                if "error" in event:
                    raise _revived(event["error"])
                yield event

    def _call(self, method: str, path: str, **request: Any) -> Any:
        response = self._request(method, path, **request)
        return response.json() if response.content else None

    def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        with worded_errors():
            response = self._http.request(method, path, **request)
        if response.is_error:
            raise error_of(response)
        return response


@contextmanager
def connect(*, engine: bool = False) -> Iterator[Api]:
    """Reach Keepstone.

    Args:
        engine: whether the command needs the language model, which only the running app has.

    Raises:
        EngineUnavailable: it does, and no app runs.
        Conflict: another command is at work on the home folder.
    """
    import httpx

    settings = load_settings()
    app = find_app(settings.home)
    if app is not None:
        key = os.environ.get("KEEPSTONE_API_KEY") or app.key
        timeout = httpx.Timeout(settings.engine.request_timeout_s, connect=5.0)
        with httpx.Client(base_url=app.url, headers=bearer(key), timeout=timeout, trust_env=False) as http:
            yield Api(http, in_process=False)
        return
    refuse_if_busy(settings)
    if engine:
        raise EngineUnavailable("Keepstone is not running", fix="Start it: `keepstone up`")
    from keepstone.ui.cli.inprocess import serve_in_process

    with serve_in_process(settings) as http:
        yield Api(http, in_process=True)


def refuse_if_busy(settings: Settings) -> None:
    """Raise `Conflict` when another process is at work on the home folder, but is no app that answers (yet)."""
    from keepstone.platform.locks import holder

    pid = holder(lock_path(settings.home))
    if pid is not None:
        raise Conflict(
            f"Process {pid} is at work on {settings.home}: Keepstone starts or stops, or another command runs",
            fix="Try again in a moment; `keepstone status` tells when Keepstone is up",
        )


def bearer(key: str) -> dict[str, str]:
    """Return the headers that present an API key."""
    return {"authorization": f"Bearer {key}"}


def error_of(response: httpx.Response | httpx2.Response) -> KeepstoneError:
    """Return the error that an answer tells of."""
    try:
        return _revived(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"Keepstone answered with HTTP {response.status_code}", fix="Run `keepstone doctor`")


@contextmanager
def worded_errors() -> Iterator[None]:
    """Turn a broken connection into an error with a fix."""
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        raise Unavailable(
            f"Keepstone does not answer ({type(error).__name__})",
            fix="Run `keepstone status`; the log is `logs/keepstone.log` in the home folder",
        ) from error


def _revived(error: Mapping[str, Any]) -> KeepstoneError:
    kinds = {KeepstoneError.code: KeepstoneError}
    waiting = [KeepstoneError]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            # One that has its code from its parent may be made of other things than a message.
            if "code" in vars(kind):
                kinds[kind.code] = kind
            waiting.append(kind)
    kind = kinds.get(str(error.get("code")), KeepstoneError)
    return kind(str(error.get("message") or "Something went wrong"), fix=error.get("fix"))

"""A server's OpenAI-compatible `/embeddings`: texts out, checked vectors back, patience with a server that is busy.

client = EmbeddingsClient("https://embeddings.example/v1", model="bge-m3", api_key=key)
vectors = client.vectors(["a passage", "another"])
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

import httpx
import numpy as np
import structlog
from numpy.typing import NDArray

from keepstone.platform.errors import InvalidInput, Unavailable
from keepstone.platform.serving.wire import server_message

_CONNECT_TIMEOUT_S: Final = 5.0
_PROBE_TIMEOUT_S: Final = 3.0
# Below the 5 s after which common servers hang up, so that no request goes out on a connection that is being closed.
_KEEP_ALIVE_S: Final = 4.0
_MAX_CONNECTIONS: Final = 8
_MAX_REPLY_BYTES: Final = 64 * 2**20
_LONGEST_PAUSE_S: Final = 30.0
_MAY_PASS: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
_FIX: Final = "Start that server, or mend encoder.url in keepstone.toml; `keepstone doctor` asks it"

log = structlog.get_logger(__name__)


class EmbeddingsClient:
    """A client of one server; safe to share between threads.

    The address comes from the settings alone, so it may be a private one. Neither redirects nor the proxies of the
    environment are followed.

    Args:
        url: base URL, with `/v1`.
        model: name under which the server knows the model.
        api_key: sent with every request.
        timeout_s: longest time one request may take.
    """

    def __init__(self, url: str, *, model: str, api_key: str | None = None, timeout_s: float = 60.0) -> None:
        self.url, self.model = url.rstrip("/"), model
        self._headers = {"accept-encoding": "identity", "content-type": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._timeout_s = timeout_s

    # Reading the certificates takes a while, so it waits for the first request.
    @cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(
            headers=self._headers,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=_MAX_CONNECTIONS, keepalive_expiry=_KEEP_ALIVE_S),
        )

    def vectors(self, texts: Sequence[str], *, pauses_s: Sequence[float] = ()) -> NDArray[np.float32]:
        """Return the vectors of some texts in one request, as the server gives them: shape (n, d), finite.

        Args:
            texts: none of them empty.
            pauses_s: what to wait before each further try while the server is busy or away; longer where it asks to.

        Raises:
            Unavailable: it does not answer, fails, or answers something else than vectors.
            InvalidInput: it refuses these texts.
        """
        for pause in pauses_s:
            try:
                return self._ask(texts, self._timeout_s)
            except _MayPassError as error:
                wait = min(max(pause, error.retry_after_s), _LONGEST_PAUSE_S)
                log.info("embeddings_tried_again", reason=error.message, wait_s=wait)
                time.sleep(wait)
        return self._ask(texts, self._timeout_s)

    def trouble(self) -> str | None:
        """Ask for one short text, and return why that does not work; None when it does."""
        try:
            self._ask(["Does it work?"], min(_PROBE_TIMEOUT_S, self._timeout_s))
        except (Unavailable, InvalidInput) as error:
            return error.message
        return None

    def _ask(self, texts: Sequence[str], timeout_s: float) -> NDArray[np.float32]:
        body = json.dumps({"model": self.model, "input": list(texts), "encoding_format": "float"}).encode()
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S))
        deadline = time.monotonic() + timeout_s
        try:
            with self._http.stream("POST", f"{self.url}/embeddings", content=body, timeout=timeout) as answer:
                content = _read(answer, deadline)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _MayPassError(f"The encoder's server at {self.url} does not answer", fix=_FIX) from error
        except httpx.TimeoutException as error:
            fix = "Ask again later, or raise encoder.timeout_s"
            message = f"The encoder's server at {self.url} did not answer within {timeout_s:g} s"
            raise Unavailable(message, fix=fix) from error
        except httpx.HTTPError as error:
            raise _MayPassError(f"The encoder's server at {self.url} broke off", fix=_FIX) from error
        if answer.status_code != HTTPStatus.OK:
            raise _refusal(answer, content)
        return _vectors(content, len(texts))


class _MayPassError(Unavailable):
    """A failure that may pass by itself."""

    retry_after_s: float = 0.0


def _read(answer: httpx.Response, deadline: float) -> bytes:
    read = bytearray()
    for block in answer.iter_raw():
        read += block
        if len(read) > _MAX_REPLY_BYTES:
            raise Unavailable(f"The encoder's server answered with more than {_MAX_REPLY_BYTES} bytes", fix=_FIX)
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer trickles")
    return bytes(read)


def _refusal(answer: httpx.Response, content: bytes) -> Unavailable | InvalidInput:
    status, said = answer.status_code, server_message(content)
    reason = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in (401, 403):
        return Unavailable("The encoder's server refused the key", fix="Mend encoder.api_key in keepstone.toml")
    if status == HTTPStatus.NOT_FOUND:
        fix = "Mend encoder.url, which mostly ends in /v1, or encoder.model in keepstone.toml"
        return Unavailable(f"The encoder's server has no such address or model ({reason})", fix=fix)
    if status in _MAY_PASS:
        busy = _MayPassError(f"The encoder's server failed ({reason})", fix=_FIX)
        asked = answer.headers.get("retry-after", "")
        busy.retry_after_s = float(asked) if asked.isdecimal() and len(asked) < 6 else 0.0
        return busy
    if 400 <= status < 500:
        fix = "Check encoder.model; where texts are too long for it, lower encoder.max_tokens"
        return InvalidInput(f"The encoder's server refused the texts ({reason})", fix=fix)
    return Unavailable(f"The encoder's server failed ({reason})", fix=_FIX)


def _vectors(content: bytes, count: int) -> NDArray[np.float32]:
    fix = "Check that encoder.url and encoder.model name an OpenAI-compatible server's embeddings"
    try:
        found: list[Any] = json.loads(content)["data"]
        rows = {each["index"]: each["embedding"] for each in found}
        with np.errstate(over="ignore"):  # what is too big is no number, which is found below
            vectors = np.array([rows[index] for index in range(count)], dtype=np.float32)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Unavailable(f"The encoder's server did not answer with {count} vectors", fix=fix) from error
    if len(found) != count or vectors.ndim != 2:
        raise Unavailable(f"The encoder's server did not answer with {count} vectors", fix=fix)
    if not np.isfinite(vectors).all():
        raise Unavailable("The encoder's server answered with vectors that hold no numbers", fix=fix)
    return vectors

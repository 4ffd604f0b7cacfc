"""The engine behind HTTP: vLLM, or any OpenAI-compatible server.

engine = HttpEngine("http://127.0.0.1:8101/v1", model="smollm2-135m-instruct", max_model_len=8192, api_key=key)
reply = await engine.chat(ChatRequest(messages=(Message("user", "Hello"),), max_tokens=32))
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import certifi
import structlog
from aiohttp.http import HttpProcessingError

from keepstone.platform.errors import EngineUnavailable, InvalidInput, KeepstoneError, LimitExceeded
from keepstone.platform.serving import wire
from keepstone.platform.serving.engine import ChatRequest, Delta, Forwarded, Reply
from keepstone.platform.serving.tokens import TokenCounter

_CONNECT_TIMEOUT_S = 5.0
_READY_TIMEOUT_S = 3.0
# Below the 5 s after which vLLM hangs up, so that no request goes out on a connection that is being closed.
_KEEP_ALIVE_S = 4.0
_STALE_S = 0.5
_MAX_REPLY_BYTES = 64 * 1024 * 1024
_TOO_LONG: Final = ("maximum context length", "context_length_exceeded", "maximum model length", "max_model_len")
_FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, TimeoutError)
_log = structlog.get_logger(__name__)


class HttpEngine:
    """A client of one OpenAI-compatible server; one event loop may use it from many tasks.

    It follows neither redirects nor the proxies of the environment: the address in the settings is the one asked.

    Args:
        base_url: the server's base URL with `/v1`.
        model: name under which it serves the model.
        max_model_len: longest prompt plus answer, in tokens.
        api_key: key sent with every request.
        model_dir: folder of the model, whose tokenizer counts exactly; None: counts are estimates.
        flavour: what the server is, which decides how grammars are sent. None: asked of the server once.
        max_streams: how many requests may be with the server at once; the others wait.
        timeout_s: longest time one request may take. A stream that falls silent is noticed within twice that.
        explain: says why the server may be down, such as `EngineSupervisor.explain`; used in error messages.
        fix: what mends a server that is down.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        max_model_len: int,
        api_key: str | None = None,
        model_dir: Path | None = None,
        flavour: wire.Flavour | None = None,
        max_streams: int = 64,
        timeout_s: float = 600.0,
        explain: Callable[[], str | None] = lambda: None,
        fix: str = "Run `keepstone status`; if the server is external, check engine.url",
    ) -> None:
        self._model = model
        self._max_model_len = max_model_len
        self._flavour = flavour
        self._timeout_s = timeout_s
        self._explain = explain
        self._fix = fix
        self._tokens = TokenCounter(model_dir)
        self._base_url = base_url.rstrip("/")
        self._max_streams = max_streams
        self._headers = {"accept-encoding": "identity", "content-type": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"

    # Sessions belong to the event loop that runs when they are made, so they are made at the first request.
    @cached_property
    def _client(self) -> aiohttp.ClientSession:
        return self._session(self._max_streams, _CONNECT_TIMEOUT_S, self._timeout_s)

    @cached_property
    def _probe(self) -> aiohttp.ClientSession:
        """Apart from the others, so that a health check does not queue behind them."""
        return self._session(4, _READY_TIMEOUT_S, _READY_TIMEOUT_S)

    def _session(self, connections: int, connect_s: float, silence_s: float) -> aiohttp.ClientSession:
        secure = self._base_url.startswith("https:")
        tls = ssl.create_default_context(cafile=certifi.where()) if secure else True
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=_KEEP_ALIVE_S, ssl=tls),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(sock_connect=connect_s, sock_read=silence_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
        )

    @property
    def model(self) -> str:
        """Name under which the model is served."""
        return self._model

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus answer, in tokens."""
        return self._max_model_len

    def count_tokens(self, text: str) -> int:
        """Return how many tokens `text` takes: exact with a model folder, else an upper estimate."""
        return self._tokens.count(text)

    async def chat(self, request: ChatRequest) -> Reply:
        """Return the whole answer; cancelling the task stops the server's work."""
        body = wire.request_body(request, self._model, stream=False, flavour=await self._ask_flavour())
        with self._worded_errors():
            async with asyncio.timeout(self._timeout_s):
                response = await self._send("/chat/completions", body)
                try:
                    await self._refuse_errors(response)
                    return wire.parse_reply(await _read(response))
                finally:
                    response.close()

    async def stream_chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer piece by piece; closing the iterator closes the connection, which stops the server."""
        body = wire.request_body(request, self._model, stream=True, flavour=await self._ask_flavour())
        opened = await self._open("/chat/completions", body, pass_refusals=False)
        finish_reason: str | None = None
        counted = False
        with self._worded_errors():
            async with aclosing(opened), aclosing(wire.events(opened)) as stream:
                async for event in stream:
                    if "error" in event:
                        raise self._error_event(event)
                    delta = wire.parse_delta(event)
                    finish_reason = finish_reason or delta.finish_reason
                    if finish_reason and delta.completion_tokens is not None and not counted:
                        counted = True
                        yield Delta(delta.text, finish_reason, delta.prompt_tokens, delta.completion_tokens)
                    elif delta.text:
                        yield Delta(delta.text)
        if not counted:
            yield Delta("", finish_reason or "stop")

    async def forward(self, path: str, body: Mapping[str, Any]) -> Forwarded:
        """Pass an OpenAI request on and its answer back, byte by byte as they come.

        `model` is filled in where the body has none. A refusal of the request (4xx) is passed back like an answer;
        a server that is down, broken (5xx) or that refuses our key raises `EngineUnavailable`, as does reading a body
        whose connection dies.
        """
        opened = await self._open(path, {"model": self._model} | dict(body), pass_refusals=True)
        return Forwarded(opened.status, opened.media_type, opened)

    async def ready(self) -> bool:
        """Tell whether the server answers now."""
        managed = self._flavour == "vllm"
        url = f"{self._base_url.removesuffix('/v1')}/health" if managed else f"{self._base_url}/models"
        try:
            async with self._probe.get(url, allow_redirects=False) as response:
                return response.status == HTTPStatus.OK
        except _FAILURES:
            return False

    async def close(self) -> None:
        """Release the connections."""
        await self._client.close()
        await self._probe.close()

    async def _ask_flavour(self) -> wire.Flavour:
        """Ask an unknown server once what it is: vLLM says so as the owner of its models."""
        if self._flavour is None:
            with self._worded_errors():
                async with self._probe.get(f"{self._base_url}/models", allow_redirects=False) as response:
                    await self._refuse_errors(response)
                    models = await _read(response)
            self._flavour = "vllm" if b'"owned_by":"vllm"' in models.replace(b": ", b":") else "openai"
            _log.info("engine.flavour", flavour=self._flavour)
        return self._flavour

    async def _send(self, path: str, body: Mapping[str, Any]) -> aiohttp.ClientResponse:
        url, content = self._base_url + path, json.dumps(body, separators=(",", ":")).encode()
        started = time.monotonic()
        try:
            return await self._client.post(url, data=content, allow_redirects=False)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            # An idle connection that the server closed just now fails at once; later, the server died at its work.
            if isinstance(error, aiohttp.ClientConnectorError) or time.monotonic() - started > _STALE_S:
                raise
            return await self._client.post(url, data=content, allow_redirects=False)

    async def _open(self, path: str, body: Mapping[str, Any], *, pass_refusals: bool) -> _Body:
        deadline = time.monotonic() + self._timeout_s
        with self._worded_errors():
            async with asyncio.timeout(self._timeout_s):
                response = await self._send(path, body)
        try:
            if not (pass_refusals and wire.is_refusal(response.status)):
                with self._worded_errors():
                    await self._refuse_errors(response)
        except BaseException:
            response.close()
            raise
        return _Body(response, deadline, self._worded_errors)

    async def _refuse_errors(self, response: aiohttp.ClientResponse) -> None:
        if response.status != HTTPStatus.OK:
            raise self._error(response.status, wire.server_message(await _read(response)))

    def _error_event(self, event: Mapping[str, Any]) -> KeepstoneError:
        inner = event["error"]
        code = inner.get("code") if isinstance(inner, dict) else None
        status = code if isinstance(code, int) and code >= 400 else 500
        return self._error(status, wire.server_message(json.dumps(event).encode()))

    def _error(self, status: int, message: str) -> KeepstoneError:
        if status in (400, 413, 422) and any(sign in message for sign in _TOO_LONG):
            return LimitExceeded(
                f"Too long for the model: {message}",
                fix="Ask with less text, or raise engine.max_model_len where the model allows it",
            )
        if wire.is_refusal(status):
            return InvalidInput(
                f"The engine refused the request: {message or f'HTTP {status}'}",
                fix="`keepstone models list` shows the models" if status == 404 else None,
            )
        if status in (401, 403):
            return EngineUnavailable("The engine refused the key", fix="Mend engine.api_key in keepstone.toml")
        if 300 <= status < 400:
            return EngineUnavailable("The engine's address only redirects", fix="Mend engine.url in keepstone.toml")
        return EngineUnavailable(self._explain() or f"The engine failed: {message or f'HTTP {status}'}", fix=self._fix)

    @contextmanager
    def _worded_errors(self) -> Iterator[None]:
        try:
            yield
        except EngineUnavailable as error:
            error.fix = error.fix or self._fix
            raise
        except _FAILURES as error:
            if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
                message = f"The engine did not finish within {self._timeout_s:g} s"
                raise EngineUnavailable(message, fix="Ask again later, or raise engine.request_timeout_s") from error
            reason = self._explain() or f"The engine at {self._base_url} does not answer"
            raise EngineUnavailable(reason, fix=self._fix) from error


class _Body:
    """The bytes of an answer, as they come. A class, since closing a generator that never ran would close nothing."""

    def __init__(
        self, response: aiohttp.ClientResponse, deadline: float, worded: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self.status = response.status
        self.media_type = response.headers.get("content-type", "application/json")
        self._response = response
        self._deadline = deadline
        self._worded = worded

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            with self._worded():
                self._check_deadline()
                chunk = await self._response.content.readany()
        except BaseException:
            self._response.close()
            raise
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def _check_deadline(self) -> None:
        if time.monotonic() > self._deadline:
            raise TimeoutError

    async def aclose(self) -> None:
        self._response.close()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    read = bytearray()
    while chunk := await response.content.readany():
        read += chunk
        if len(read) > _MAX_REPLY_BYTES:
            raise EngineUnavailable(f"The engine answered with more than {_MAX_REPLY_BYTES} bytes")
    return bytes(read)

"""Which model answers now, and the engine that always asks that one.

live = LiveEngine("smollm2-135m-instruct", served)
engine = live.client()          # one for each event loop; keeps its name whatever is behind it
before = live.switch(other)     # from now on requests go there; those under way end where they began
live.users(before)              # 0 when the last of them has ended
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.engine import ByteStream, ChatRequest, Delta, Engine, Forwarded, Reply


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """What writes answers: a model, or a model with an adapter."""

    base: InstalledModel
    adapter: InstalledModel | None = None

    @property
    def chosen(self) -> InstalledModel:
        """The version that people chose: the adapter where there is one."""
        return self.adapter or self.base

    @property
    def reference(self) -> str:
        """Name and version of the chosen one."""
        return self.chosen.reference


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A language model at an engine that serves it."""

    model: LanguageModel
    connect: Callable[[], Engine]
    """Makes a client that asks for this model, for one event loop."""


class LiveEngine:
    """The one place where it changes which model answers. All methods may be called from any thread.

    Args:
        name: under which clients ask for the live model, whichever it is.
        served: what answers at first.
    """

    def __init__(self, name: str, served: Served) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._served = served
        self._users: Counter[Served] = Counter()

    @property
    def served(self) -> Served:
        """What answers now."""
        with self._lock:
            return self._served

    def switch(self, served: Served) -> Served:
        """Send all further requests there; return what answered before."""
        with self._lock:
            before, self._served = self._served, served
            return before

    def users(self, served: Served) -> int:
        """Return how many requests are under way there."""
        with self._lock:
            return self._users[served]

    def enter(self) -> Served:
        """Begin a request: return where it goes. It must be ended with `leave`."""
        with self._lock:
            self._users[self._served] += 1
            return self._served

    def leave(self, served: Served) -> None:
        """End a request."""
        with self._lock:
            self._users[served] -= 1
            if not self._users[served]:
                del self._users[served]

    def client(self) -> SwitchingEngine:
        """Return an engine that always asks what is live, for one event loop."""
        return SwitchingEngine(self)


class SwitchingEngine:
    """Passes each request to the model that is live when it begins. One event loop may use it from many tasks.

    Args:
        live: tells which model that is.
    """

    def __init__(self, live: LiveEngine) -> None:
        self._live = live
        self._clients: dict[Served, Engine] = {}
        self._under_way: Counter[Served] = Counter()

    @property
    def model(self) -> str:
        """Name under which clients ask for it, which stays the same."""
        return self._live.name

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus answer, in tokens, of the live model."""
        return self._client(self._live.served).max_model_len

    def count_tokens(self, text: str) -> int:
        """Return how many tokens `text` takes for the live model."""
        return self._client(self._live.served).count_tokens(text)

    async def chat(self, request: ChatRequest) -> Reply:
        """Return the whole answer."""
        async with self._asking() as engine:
            return await engine.chat(request)

    async def stream_chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer piece by piece; closing the iterator stops the engine's work."""
        async with self._asking() as engine, aclosing(engine.stream_chat(request)) as deltas:
            async for delta in deltas:
                yield delta

    async def forward(self, path: str, body: Mapping[str, Any]) -> Forwarded:
        """Pass an OpenAI request on, for the live model whatever `model` it names, and its answer back unchanged."""
        served = self._begin()
        try:
            engine = self._client(served)
            answer = await engine.forward(path, {**body, "model": engine.model})
        except BaseException:
            await self._end(served)
            raise
        return Forwarded(answer.status, answer.media_type, _Counted(answer.body, partial(self._end, served)))

    async def ready(self) -> bool:
        """Tell whether the server of the live model answers now."""
        return await self._client(self._live.served).ready()

    async def close(self) -> None:
        """Release the connections."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    def _client(self, served: Served) -> Engine:
        if served not in self._clients:
            self._clients[served] = served.connect()
        return self._clients[served]

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Engine]:
        served = self._begin()
        try:
            yield self._client(served)
        finally:
            await self._end(served)

    def _begin(self) -> Served:
        served = self._live.enter()
        self._under_way[served] += 1
        return served

    async def _end(self, served: Served) -> None:
        """Count a request as ended; close the clients of what no longer answers once their last one has."""
        self._under_way[served] -= 1
        self._live.leave(served)
        now = self._live.served
        for old in [each for each in self._clients if each is not now and not self._under_way[each]]:
            del self._under_way[old]
            await self._clients.pop(old).close()


class _Counted:
    """The bytes of a forwarded answer; at their end the request ends too."""

    def __init__(self, body: ByteStream, ended: Callable[[], Awaitable[None]]) -> None:
        self._body = body
        self._ended: Callable[[], Awaitable[None]] | None = ended

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._body.__anext__()
        except BaseException:
            await self._end()
            raise

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            await self._end()

    async def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            await ended()

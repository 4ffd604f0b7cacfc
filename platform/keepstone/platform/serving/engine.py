"""What the rest of Keepstone asks of a language model: the `Engine` protocol and its plain data.

Implementations: `http.HttpEngine` (vLLM, or any OpenAI-compatible server) and `scripted.ScriptedEngine` (queued
replies, for tests and demonstrations).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A prompt and how to decode its answer."""

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    grammar: str | None = None
    """EBNF (xgrammar dialect) that the answer must match."""
    json_schema: Mapping[str, Any] | None = None
    """JSON Schema that the answer must match. At most one of grammar and json_schema."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the OpenAI request body."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed answer. The last one carries `finish_reason` and, where known, the token counts."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class ByteStream(Protocol):
    """Bytes as they come; an asynchronous generator of bytes is one."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return itself."""
        ...

    async def __anext__(self) -> bytes:
        """Return the next bytes."""
        ...

    async def aclose(self) -> None:
        """Stop: nothing further is wanted."""
        ...


@dataclass(frozen=True, slots=True)
class Forwarded:
    """An answer of the engine passed on byte by byte. `body` must be read to its end or closed (`aclose`)."""

    status: int
    media_type: str
    body: ByteStream


class Engine(Protocol):
    """A language model that can be asked.

    Every method raises `EngineUnavailable` when the server is down or starting, `LimitExceeded` when the prompt does
    not fit, and `InvalidInput` when the server refuses the request.
    """

    @property
    def model(self) -> str:
        """Name under which the model is served."""
        ...

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus answer, in tokens."""
        ...

    def count_tokens(self, text: str) -> int:
        """Return how many tokens `text` takes, exactly where the tokenizer is at hand, else an upper estimate."""
        ...

    async def chat(self, request: ChatRequest) -> Reply:
        """Return the whole answer."""
        ...

    def stream_chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer piece by piece; closing the iterator stops the engine's work."""
        ...

    async def forward(self, path: str, body: Mapping[str, Any]) -> Forwarded:
        """Pass an OpenAI request on, such as `/chat/completions`, and its answer back unchanged."""
        ...

    async def ready(self) -> bool:
        """Tell whether the server answers now."""
        ...

    async def close(self) -> None:
        """Release the connections."""
        ...

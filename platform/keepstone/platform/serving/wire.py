"""The OpenAI wire format, as far as Keepstone speaks it: requests out, answers and server-sent events in."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from typing import Any, Literal

from keepstone.platform.errors import EngineUnavailable, InvalidInput
from keepstone.platform.serving.engine import ChatRequest, Delta, Message, Reply

Flavour = Literal["vllm", "openai"]
_MAX_EVENT_BYTES = 16 * 1024 * 1024
_ROLES = ("system", "user", "assistant")


def request_body(request: ChatRequest, model: str, *, stream: bool, flavour: Flavour) -> dict[str, Any]:
    """Return the body of POST /chat/completions.

    vLLM takes a grammar or schema as `structured_outputs`; every other server takes a schema as `response_format`,
    and a grammar not at all: it is left out there.

    Raises:
        InvalidInput: both a grammar and a schema are given.
    """
    if request.grammar is not None and request.json_schema is not None:
        raise InvalidInput("A request has both a grammar and a JSON schema", fix="Give at most one")
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stream": stream,
    }
    if stream:
        body["stream_options"] = {"include_usage": True}
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    if flavour == "vllm":
        if request.grammar is not None:
            body["structured_outputs"] = {"grammar": request.grammar}
        elif request.json_schema is not None:
            body["structured_outputs"] = {"json": dict(request.json_schema)}
    elif request.json_schema is not None:
        schema = {"name": "answer", "schema": dict(request.json_schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body | dict(request.extra)


def parse_request(body: Mapping[str, Any], *, default_max_tokens: int) -> ChatRequest:
    """Read the body of POST /chat/completions or, when it has a `prompt`, of POST /completions.

    Raises:
        InvalidInput: a field has the wrong type.
    """
    known = {"messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop"}
    try:
        if "prompt" in body:
            messages: tuple[Message, ...] = (Message("user", str(body["prompt"])),)
        else:
            messages = tuple(_message(item) for item in body["messages"])
        stop = body.get("stop") or ()
        seed = body.get("seed")
        return ChatRequest(
            messages=messages,
            max_tokens=int(body.get("max_completion_tokens") or body.get("max_tokens") or default_max_tokens),
            temperature=float(body.get("temperature") or 0.0),
            top_p=float(body.get("top_p") or 1.0),
            seed=None if seed is None else int(seed),
            stop=(stop,) if isinstance(stop, str) else tuple(str(item) for item in stop),
            extra={name: value for name, value in body.items() if name not in known},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"Not an OpenAI completion request: {error!r}") from error


def _message(item: Mapping[str, Any]) -> Message:
    role = item["role"]
    if role not in _ROLES:
        role = "system" if role == "developer" else "user"
    content = item.get("content") or ""
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content)
    return Message(role, content)


def parse_reply(raw: bytes) -> Reply:
    """Read a whole chat completion.

    Raises:
        EngineUnavailable: it is not one.
    """
    try:
        answer = json.loads(raw)
        choice = answer["choices"][0]
        usage = answer.get("usage") or {}
        return Reply(
            text=choice["message"].get("content") or "",
            finish_reason=choice.get("finish_reason") or "stop",
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _not_openai() from error


def parse_delta(event: Mapping[str, Any]) -> Delta:
    """Read one event of a streamed chat completion. An event without choices carries the token counts only.

    Raises:
        EngineUnavailable: it is not one.
    """
    try:
        usage = event.get("usage") or {}
        choice = (event.get("choices") or [{}])[0]
        return Delta(
            text=(choice.get("delta") or {}).get("content") or "",
            finish_reason=choice.get("finish_reason"),
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise _not_openai() from error


async def events(chunks: AsyncIterable[bytes]) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the JSON objects of a server-sent event stream.

    Lines end at a line feed only: text in the events may hold other line separators. Comments are skipped, and so is
    what follows `[DONE]`; it is read all the same, so that the connection can be used again.

    Raises:
        EngineUnavailable: the stream ends before `[DONE]`, or holds something else.
    """
    buffer = bytearray()
    done = False
    async for chunk in chunks:
        buffer += chunk
        if len(buffer) > _MAX_EVENT_BYTES:
            raise _not_openai()
        *lines, rest = buffer.split(b"\n")
        buffer = bytearray(rest)
        for line in lines:
            data = line.removeprefix(b"data:").strip()
            done = done or data == b"[DONE]"
            if not done and line.startswith(b"data:"):
                yield _load_event(data)
    if not done:
        raise EngineUnavailable("The engine broke off in the middle of an answer")


def _load_event(data: bytes | bytearray) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError as error:
        raise _not_openai() from error
    if not isinstance(event, dict):
        raise _not_openai()
    return event


def server_message(raw: bytes) -> str:
    """Return what the server said was wrong, from the body of an error answer, in at most 500 characters."""
    try:
        answer = json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace").strip()[:500]
    if isinstance(answer, dict):
        inner = answer.get("error", answer)
        message = inner.get("message", inner.get("detail", "")) if isinstance(inner, dict) else inner
        return str(message).strip().rstrip(".")[:500]
    return str(answer)[:500]


def is_refusal(status: int) -> bool:
    """Tell whether a status blames the request rather than the server or our key."""
    return 400 <= status < 500 and status not in (401, 403, 407, 408, 429)


def _not_openai() -> EngineUnavailable:
    return EngineUnavailable(
        "The server's answer is not in OpenAI's format",
        fix="Check that engine.url is the base URL (with /v1) of an OpenAI-compatible server",
    )

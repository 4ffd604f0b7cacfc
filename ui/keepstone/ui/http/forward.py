"""Requests that go to the engine as they came: checked lightly, then passed on and answered byte by byte.

Only fields on the lists below reach the engine. vLLM knows many more, and some of them make it fetch addresses, load
tensors or run templates that the client chose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from keepstone.platform.errors import InvalidInput, KeepstoneError, LimitExceeded, did_you_mean
from keepstone.platform.serving.engine import Engine
from keepstone.ui.http.streams import error_event, unless_disconnected

log = structlog.get_logger(__name__)

_SAMPLING: Final = frozenset(
    {
        "model", "max_tokens", "temperature", "top_p", "top_k", "min_p", "n", "seed", "stop", "stop_token_ids",
        "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "ignore_eos", "min_tokens",
        "stream", "stream_options",
    }
)  # fmt: skip
CHAT_FIELDS: Final = _SAMPLING | {
    "messages", "max_completion_tokens", "logprobs", "top_logprobs", "response_format", "tools", "tool_choice",
    "parallel_tool_calls",
}  # fmt: skip
COMPLETION_FIELDS: Final = _SAMPLING | {"prompt", "echo", "logprobs", "suffix"}
# Fields of OpenAI's API that say nothing to an engine of one's own: taken, and dropped.
_IGNORED: Final = frozenset(
    {
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "reasoning_effort", "verbosity", "modalities", "best_of",
    }
)  # fmt: skip
_MAX_CHOICES: Final = 8
_MAX_PROMPTS: Final = 64
_MAX_MESSAGES: Final = 1000
_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")


def engine_body(body: Mapping[str, Any], fields: frozenset[str], engine: Engine) -> dict[str, Any]:
    """Return the body that the engine gets: the known fields, within bounds, for the model it serves.

    Args:
        body: what the client sent.
        fields: `CHAT_FIELDS` or `COMPLETION_FIELDS`.
        engine: who will get it.

    Raises:
        InvalidInput: a field is unknown or has the wrong type.
        LimitExceeded: more choices or prompts than one request may ask for.
    """
    for name in body:
        if name not in fields and name not in _IGNORED:
            raise InvalidInput(f"Unknown field {name!r}", fix=did_you_mean(name, sorted(fields)))
    kept = {name: value for name, value in body.items() if name in fields and value is not None}
    kept["model"] = engine.model
    _bound(kept, "n", 1, _MAX_CHOICES)
    for name in ("max_tokens", "max_completion_tokens"):
        if isinstance(kept.get(name), int):
            kept[name] = min(kept[name], engine.max_model_len)
    if "stream_options" in kept:
        options = kept["stream_options"]
        if not isinstance(options, dict):
            raise InvalidInput("stream_options is not an object")
        kept["stream_options"] = {"include_usage": bool(options.get("include_usage"))}
    if "messages" in fields:
        check_messages(kept.get("messages"))
    else:
        _check_prompt(kept.get("prompt"))
    return kept


def check_messages(messages: Any) -> list[dict[str, Any]]:
    """Return `messages` if they are a conversation in text: media would have to be fetched from somewhere.

    Raises:
        InvalidInput: they are something else.
        LimitExceeded: there are too many.
    """
    if not isinstance(messages, list) or not messages:
        raise InvalidInput("messages is missing or empty", fix='Send [{"role": "user", "content": "..."}]')
    if len(messages) > _MAX_MESSAGES:
        raise LimitExceeded(f"The conversation has more than {_MAX_MESSAGES} messages")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise InvalidInput(f"messages.{number} has no known role", fix=f"Valid: {', '.join(_ROLES)}")
        text_of(message, number)
    return messages


def text_of(message: Mapping[str, Any], number: int = 0) -> str:
    """Return the text of a message, whose content may be a string or a list of text parts.

    Raises:
        InvalidInput: it holds something else.
    """
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "\n".join(str(text) for text in texts)
    raise InvalidInput(f"messages.{number}.content is not text", fix="Images, audio and files are not taken here")


def _check_prompt(prompt: Any) -> None:
    prompts = prompt if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else [prompt]
    if len(prompts) > _MAX_PROMPTS:
        raise LimitExceeded(f"{len(prompts)} prompts in one request", fix=f"Send at most {_MAX_PROMPTS}")
    for each in prompts:
        tokens = isinstance(each, list) and each and all(isinstance(token, int) and token >= 0 for token in each)
        if not (tokens or (isinstance(each, str) and each)):
            raise InvalidInput("prompt is missing, empty or neither text nor token ids")


def _bound(body: Mapping[str, Any], name: str, low: int, high: int) -> None:
    value = body.get(name, low)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidInput(f"{name} is {value!r}", fix=f"Give a whole number from {low} to {high}")


async def json_object(request: Request) -> dict[str, Any]:
    """Return the request's body, a JSON object. The engine checks what is in it.

    Raises:
        InvalidInput: it is something else.
    """
    raw = await request.body()
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("The body is not valid JSON", fix="Send a JSON object") from error
    if not isinstance(body, dict):
        raise InvalidInput("The body is not a JSON object", fix='Send {"model": ..., ...}')
    return body


class ForwardedResponse(Response):
    """Passes a request on to the engine and the answer back as it comes; a client that leaves stops the engine's work.

    Args:
        engine: who answers.
        path: such as `/chat/completions`.
        body: what the engine gets (`engine_body`).
    """

    def __init__(self, engine: Engine, path: str, body: Mapping[str, Any]) -> None:
        super().__init__()
        self._engine = engine
        self._path = path
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer. An error before it begins is raised, so that it becomes an answer with its status."""
        del scope
        await unless_disconnected(receive, self._pass_on(send))

    async def _pass_on(self, send: Send) -> None:
        forwarded = await self._engine.forward(self._path, self._body)
        head = Response(status_code=forwarded.status, media_type=forwarded.media_type)
        del head.headers["content-length"]
        async with aclosing(forwarded.body):
            await send({"type": "http.response.start", "status": head.status_code, "headers": head.raw_headers})
            try:
                async for chunk in forwarded.body:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except KeepstoneError as error:
                if not forwarded.media_type.startswith("text/event-stream"):
                    raise
                log.warning("http.stream_broke", code=error.code, reason=error.message)
                await send({"type": "http.response.body", "body": error_event(error), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

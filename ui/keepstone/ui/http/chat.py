"""`POST /v1/chat/completions` and `POST /v1/completions`, as OpenAI has them.

`model` names a collection, which answers from its documents with citations (`wire` documents the extension field
`keepstone`), all collections, or the language model itself: see `targets`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from keepstone.agents.types import Answer, AnswerEvent, Finished, TextDelta
from keepstone.platform.errors import InvalidInput, NotFound, Unavailable
from keepstone.platform.serving.engine import Message
from keepstone.ui.http.dependencies import CurrentPrincipal, TheLookups, TheRuntime
from keepstone.ui.http.forward import (
    CHAT_FIELDS,
    COMPLETION_FIELDS,
    ForwardedResponse,
    check_messages,
    engine_body,
    json_object,
    text_of,
)
from keepstone.ui.http.streams import DONE, EventResponse, event, unless_disconnected
from keepstone.ui.http.targets import LLM_PREFIX, model_name, target_of
from keepstone.ui.http.wire import Completion

router = APIRouter(prefix="/v1", tags=["openai"])

_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


@dataclass(frozen=True, slots=True)
class _Question:
    """What a chat request asks of a collection."""

    text: str
    history: tuple[Message, ...]
    max_tokens: int | None
    temperature: float | None


@router.post("/chat/completions", openapi_extra=_BODY, response_model=None)
async def chat_completions(
    request: Request, runtime: TheRuntime, principal: CurrentPrincipal, lookups: TheLookups
) -> Response:
    """Answer a conversation, from a collection or by the bare model."""
    body = await json_object(request)
    name = model_name(body)
    principal.needs_scope("read")
    collections = await target_of(runtime, lookups, principal, name)
    if collections == ():
        return ForwardedResponse(runtime.engine, "/chat/completions", engine_body(body, CHAT_FIELDS, runtime.engine))
    question = _question(body)
    events = runtime.answerer.answer(
        principal,
        question.text,
        collections=collections,
        history=question.history,
        max_tokens=question.max_tokens,
        temperature=question.temperature,
    )
    completion = Completion(model=name)
    if body.get("stream"):
        options = body.get("stream_options") or {}
        if not isinstance(options, dict):
            raise InvalidInput("stream_options is not an object")
        wants_usage = bool(options.get("include_usage"))
        return EventResponse(_streamed(completion, events, wants_usage=wants_usage))
    answer = await unless_disconnected(request.receive, _finished(events))
    return JSONResponse(completion.whole(answer))


@router.post("/completions", openapi_extra=_BODY, response_model=None)
async def completions(request: Request, runtime: TheRuntime, principal: CurrentPrincipal) -> Response:
    """Continue a text by the bare model."""
    body = await json_object(request)
    name = model_name(body)
    principal.needs_scope("read")
    if name.removeprefix(LLM_PREFIX) != runtime.engine.model:
        fix = f"Use {runtime.engine.model!r} here; collections answer at /v1/chat/completions"
        raise NotFound(f"No language model {name!r}", fix=fix)
    return ForwardedResponse(runtime.engine, "/completions", engine_body(body, COMPLETION_FIELDS, runtime.engine))


def _question(body: Mapping[str, Any]) -> _Question:
    messages = check_messages(body.get("messages"))
    turns = [Message(_role(message), text_of(message)) for message in messages if message.get("content")]
    if messages[-1].get("role") == "user" and not text_of(messages[-1]).strip(" \t\r\n\0"):
        raise InvalidInput("The question is empty", fix="Type a question")
    if not turns or turns[-1].role != "user":
        raise InvalidInput("The last message is not a question", fix="End messages with one of the role 'user'")
    if body.get("n") not in (None, 1):
        raise InvalidInput("A collection gives one answer", fix="Leave n out")
    max_tokens = body.get("max_completion_tokens") or body.get("max_tokens")
    temperature = body.get("temperature")
    if not (max_tokens is None or (isinstance(max_tokens, int) and max_tokens > 0)):
        raise InvalidInput(f"max_tokens is {max_tokens!r}", fix="Give a whole number above 0")
    if not (temperature is None or (isinstance(temperature, int | float) and 0 <= temperature <= 2)):
        raise InvalidInput(f"temperature is {temperature!r}", fix="Give a number from 0 to 2")
    # A client's system prompt has no place in the grounded prompt, which Keepstone writes.
    history = tuple(turn for turn in turns[:-1] if turn.role != "system")
    return _Question(turns[-1].content, history, max_tokens, None if temperature is None else float(temperature))


def _role(message: Mapping[str, Any]) -> Any:
    role = message["role"]
    return role if role in ("user", "assistant") else "system"


async def _finished(events: AsyncGenerator[AnswerEvent, None]) -> Answer:
    async with aclosing(events):
        async for each in events:
            if isinstance(each, Finished):
                return each.answer
    raise Unavailable("The answer broke off", fix="Ask again")


async def _streamed(
    completion: Completion, events: AsyncGenerator[AnswerEvent, None], *, wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Yield the events of the stream; the first comes with the first word, when the engine is known to answer."""
    opened = False
    async with aclosing(events) as opened_events:
        async for each in opened_events:
            if not isinstance(each, TextDelta | Finished):
                continue
            if not opened:
                opened = True
                yield event(completion.opening())
            if isinstance(each, TextDelta):
                yield event(completion.text(each.text))
                continue
            yield event(completion.closing(each.answer))
            if wants_usage:
                yield event(completion.usage(each.answer))
    yield DONE

"""An engine without a model: it gives queued replies. For tests, documentation and demonstrations.

engine = ScriptedEngine(["Rome [1]."], default=lambda request: request.messages[-1].content)
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any

from keepstone.platform.errors import EngineUnavailable, InvalidInput, LimitExceeded
from keepstone.platform.serving.engine import ChatRequest, Delta, Forwarded, Reply
from keepstone.platform.serving.wire import parse_request

Script = str | Callable[[ChatRequest], str]
_WORD = re.compile(r"\s*[\u3040-\u30ff\u3400-\u9fff]|\s*[^\s\u3040-\u30ff\u3400-\u9fff]+|\s+")


class ScriptedEngine:
    """Answers each request with the next queued reply, word by word. A token is a word, or one CJK character.

    It keeps to `max_tokens` and `stop`; grammars and schemas are the script's own concern.

    Args:
        replies: what to answer, in order: texts, or functions of the request, which may raise.
        default: what to answer when the queue is empty; None: the request fails with `LookupError`.
        model: name under which the model is served.
        max_model_len: longest prompt plus answer, in words.
    """

    def __init__(
        self,
        replies: Iterable[Script] = (),
        *,
        default: Script | None = None,
        model: str = "scripted",
        max_model_len: int = 8192,
    ) -> None:
        self._queue: deque[Script] = deque(replies)
        self._default = default
        self._model = model
        self._max_model_len = max_model_len
        self.history: list[ChatRequest] = []
        """Every request, the oldest first."""
        self.available = True
        """Switch it off to act like an engine that is down."""

    @property
    def model(self) -> str:
        """Name under which the model is served."""
        return self._model

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus answer, in words."""
        return self._max_model_len

    def enqueue(self, *replies: Script) -> None:
        """Append replies to the queue."""
        self._queue.extend(replies)

    def count_tokens(self, text: str) -> int:
        """Return the number of words."""
        return len(_WORD.findall(text))

    async def chat(self, request: ChatRequest) -> Reply:
        """Return the next reply.

        Raises:
            EngineUnavailable: `available` is off.
            LimitExceeded: the prompt does not fit.
            LookupError: the queue is empty and there is no default.
        """
        words, finish_reason = self._answer(request)
        return Reply("".join(words), finish_reason, self._prompt_tokens(request), len(words))

    async def stream_chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Yield the next reply word by word; raises as `chat` does."""
        words, finish_reason = self._answer(request)
        for word in words:
            await asyncio.sleep(0)
            yield Delta(word)
        yield Delta("", finish_reason, self._prompt_tokens(request), len(words))

    async def forward(self, path: str, body: Mapping[str, Any]) -> Forwarded:
        """Answer `/chat/completions` and `/completions` as an OpenAI-compatible server would, streamed or whole."""
        if path not in ("/chat/completions", "/completions"):
            return _refused(404, f"No such path: {path}")
        try:
            request = parse_request(body, default_max_tokens=self._max_model_len)
            words, finish_reason = self._answer(request)
        except (InvalidInput, LimitExceeded) as error:
            return _refused(400, str(error))
        prompt_tokens = self._prompt_tokens(request)
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(words),
            "total_tokens": prompt_tokens + len(words),
        }
        chat = path == "/chat/completions"
        if not body.get("stream"):
            return Forwarded(200, "application/json", _whole(self._completion(words, finish_reason, usage, chat=chat)))
        wants_usage = (body.get("stream_options") or {}).get("include_usage")
        events = self._events(words, finish_reason, chat=chat)
        if wants_usage:
            events.append(self._envelope(chat=chat, stream=True) | {"choices": [], "usage": usage})
        return Forwarded(200, "text/event-stream", _streamed(events))

    async def ready(self) -> bool:
        """Tell whether `available` is on."""
        return self.available

    async def close(self) -> None:
        """Do nothing."""

    def _answer(self, request: ChatRequest) -> tuple[list[str], str]:
        if not self.available:
            raise EngineUnavailable("The engine does not answer", fix="Run `keepstone status`")
        self.history.append(request)
        prompt_tokens = self._prompt_tokens(request)
        if prompt_tokens >= self._max_model_len:
            raise LimitExceeded(
                f"This model's maximum context length is {self._max_model_len} tokens; the prompt has {prompt_tokens}",
                fix="Ask with less text",
            )
        script = self._queue.popleft() if self._queue else self._default
        if script is None:
            raise LookupError("the scripted engine has no reply left: enqueue one, or give it a default")
        text = script if isinstance(script, str) else script(request)
        for stop in request.stop:
            text = text.partition(stop)[0]
        words = _WORD.findall(text)
        limit = min(request.max_tokens, self._max_model_len - prompt_tokens)
        return (words[:limit], "length") if len(words) > limit else (words, "stop")

    def _prompt_tokens(self, request: ChatRequest) -> int:
        return sum(self.count_tokens(message.content) for message in request.messages)

    def _completion(self, words: list[str], finish_reason: str, usage: dict[str, int], *, chat: bool) -> dict[str, Any]:
        text = "".join(words)
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice = {"index": 0, **said, "finish_reason": finish_reason, "logprobs": None}
        return self._envelope(chat=chat, stream=False) | {"choices": [choice], "usage": usage}

    def _events(self, words: list[str], finish_reason: str, *, chat: bool) -> list[dict[str, Any]]:
        envelope = self._envelope(chat=chat, stream=True)

        def event(said: dict[str, str], finished: str | None = None) -> dict[str, Any]:
            piece: dict[str, Any] = {"delta": said} if chat else {"text": said.get("content", "")}
            return envelope | {"choices": [{"index": 0, **piece, "finish_reason": finished, "logprobs": None}]}

        opening = [event({"role": "assistant", "content": ""})] if chat else []
        return [*opening, *(event({"content": word}) for word in words), event({}, finish_reason)]

    def _envelope(self, *, chat: bool, stream: bool) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if stream else "chat.completion") if chat else "text_completion"
        return {"id": f"scripted-{len(self.history)}", "object": kind, "created": 0, "model": self._model}


async def _whole(answer: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    yield json.dumps(answer, ensure_ascii=False).encode()


async def _streamed(events: Iterable[dict[str, Any]]) -> AsyncGenerator[bytes, None]:
    for event in events:
        await asyncio.sleep(0)
        yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
    yield b"data: [DONE]\n\n"


def _refused(status: int, message: str) -> Forwarded:
    error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": status}}
    return Forwarded(status, "application/json", _whole(error))

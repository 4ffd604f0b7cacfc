"""Asking a question from a page: wait for the engine, stream the answer, stop it on request, keep the conversation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from keepstone.agents.types import AnswerEvent, Finished, Found, Searching, TextDelta
from keepstone.platform.access import Principal
from keepstone.platform.errors import KeepstoneError
from keepstone.platform.serving.engine import Message
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.answers import AnswerView, Source
from keepstone.ui.web.engine_state import engine_state

_REFRESH_S: Final = 0.05
_ENGINE_POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an answer is."""

    status: str = ""
    """What is being done, while there is no text yet."""
    view: AnswerView | None = None
    error: KeepstoneError | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question as a page asks it."""

    principal: Principal
    text: str
    conversation_id: str
    collections: tuple[str, ...] | None
    history: Sequence[Message] = ()


@dataclass(slots=True)
class Asking:
    """The questions of this process that are being answered. All methods belong to one event loop."""

    runtime: Runtime
    _tasks: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict)

    def stop(self, principal: Principal, conversation_id: str) -> bool:
        """Stop the answer under way in one's own conversation; tell whether there was one."""
        task = self._tasks.get((principal.id, conversation_id))
        return task is not None and task.cancel()

    async def answer(self, question: Question) -> AsyncGenerator[Progress, None]:
        """Yield progress until the answer is finished, stopped or failed, and append it to the conversation.

        Closing the iterator, as when the browser goes away, stops the engine and keeps what was written.
        """
        events: asyncio.Queue[AnswerEvent | str | None] = asyncio.Queue()
        task = asyncio.create_task(self._pump(question, events))
        key = (question.principal.id, question.conversation_id)
        self._tasks[key] = task
        view = AnswerView(content="")
        try:
            async with aclosing(self._watch(events)) as updates:
                async for progress in updates:
                    view = progress.view or view
                    yield progress
            await asyncio.wait([task])
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, KeepstoneError):
                raise error
            if error is not None:
                yield Progress(view=view if view.content else None, error=error)
            elif view.outcome is None:
                view = replace(view, outcome="stopped")
                yield Progress(view=view)
        finally:
            self._tasks.pop(key, None)
            task.cancel()
            await asyncio.wait([task])
            if view.content:
                await asyncio.to_thread(self._append, question, view)

    def _append(self, question: Question, view: AnswerView) -> None:
        self.runtime.conversations.append(
            question.principal, question.conversation_id, "assistant", view.content, view.id
        )

    async def _pump(self, question: Question, events: asyncio.Queue[AnswerEvent | str | None]) -> None:
        """Run the answerer in a task of its own, so that it can be cancelled at any await."""
        try:
            await self._wait_for_engine(events)
            answer = self.runtime.answerer.answer(
                question.principal, question.text, collections=question.collections, history=question.history
            )
            async with aclosing(answer) as produced:
                async for event in produced:
                    events.put_nowait(event)
        finally:
            events.put_nowait(None)

    async def _wait_for_engine(self, events: asyncio.Queue[AnswerEvent | str | None]) -> None:
        while True:
            state = await engine_state(self.runtime)
            if state.state != "starting":
                return
            events.put_nowait(state.message)
            await asyncio.sleep(_ENGINE_POLL_S)

    async def _watch(self, events: asyncio.Queue[AnswerEvent | str | None]) -> AsyncGenerator[Progress, None]:
        """Turn events into what a page shows, at most twenty times a second."""
        view = AnswerView(content="")
        shown = 0.0
        while (event := await events.get()) is not None:
            match event:
                case str():
                    yield Progress(status=event)
                case Searching():
                    yield Progress(status="Searching the documents…")
                case Found():
                    view = replace(view, sources=tuple(Source.of(passage) for passage in event.passages))
                    yield Progress(status=_reading(len({source.document_id for source in view.sources})))
                case TextDelta():
                    view = replace(view, content=view.content + event.text)
                    if time.monotonic() - shown >= _REFRESH_S or events.empty():
                        yield Progress(view=view)
                        shown = time.monotonic()
                case Finished():
                    yield Progress(view=AnswerView.of(event.answer))


def _reading(documents: int) -> str:
    if documents == 0:
        return "Nothing relevant found…"
    return f"Reading {documents} document{'s' if documents != 1 else ''}…"

"""Answers under way: each is a task of its own, which pages follow, leave and come back to.

Leaving the page does not stop an answer; it goes on to its end, which the length of answers bounds, and is kept in its
conversation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

import structlog

from keepstone.agents.react.brief import Brief
from keepstone.agents.react.types import Called, Observed, RunEvent, RunFinished, Thought
from keepstone.agents.types import Finished, Found, Searching, TextDelta
from keepstone.platform.access import Principal
from keepstone.platform.errors import Conflict, KeepstoneError, LimitExceeded, NotFound
from keepstone.platform.serving.engine import Message
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.answers import AnswerView, Source
from keepstone.ui.web.engine_state import engine_state
from keepstone.ui.web.steps import doing, with_event

_REFRESH_S: Final = 0.05
_ENGINE_POLL_S: Final = 0.5
_REMEMBER_S: Final = 10.0
_AT_ONCE: Final = 4
"""How many answers one person may have under way."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an answer is."""

    question: str
    status: str = ""
    """What is being done, while there is no text yet."""
    view: AnswerView | None = None
    error: KeepstoneError | None = None
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A question as a page asks it."""

    principal: Principal
    text: str
    conversation_id: str
    collections: tuple[str, ...] | None
    history: Sequence[Message] = ()
    agent: bool = False
    """Whether the agent is to find out, step by step."""


class Asking:
    """The answers of this process that are under way. All methods belong to one event loop.

    Args:
        runtime: the services.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._running: dict[tuple[str, str], _Running] = {}

    def start(self, question: Question) -> None:
        """Begin to answer.

        Raises:
            Conflict: an answer is being written in this conversation.
            LimitExceeded: this person has too many answers under way.
        """
        key = (question.principal.id, question.conversation_id)
        if self.is_running(*key):
            raise Conflict("An answer is being written", fix="Wait for its end, or stop it")
        if sum(each[0] == key[0] and self.is_running(*each) for each in self._running) >= _AT_ONCE:
            raise LimitExceeded(f"{_AT_ONCE} of your answers are being written", fix="Wait for one, or stop one")
        running = _Running(self._runtime, question)
        self._running[key] = running
        running.task = asyncio.create_task(running.run())
        running.task.add_done_callback(lambda _: self._forget_later(key, running))

    def is_running(self, principal_id: str, conversation_id: str) -> bool:
        """Tell whether an answer is being written in a principal's conversation."""
        running = self._running.get((principal_id, conversation_id))
        return running is not None and not running.progress.finished

    def _forget_later(self, key: tuple[str, str], running: _Running) -> None:
        """Drop an answer once those who asked for it have surely seen its end."""

        def forget() -> None:
            if self._running.get(key) is running:
                del self._running[key]

        asyncio.get_running_loop().call_later(_REMEMBER_S, forget)

    def stop(self, principal: Principal, conversation_id: str, *, keep: bool = True) -> None:
        """Stop the answer in one's own conversation, if there is one.

        Args:
            principal: who asked.
            conversation_id: where.
            keep: whether what was written so far is shown and stored.
        """
        running = self._running.get((principal.id, conversation_id))
        if running is not None and running.task is not None:
            running.keep = running.keep and keep
            running.task.cancel()

    async def follow(self, principal: Principal, conversation_id: str) -> AsyncGenerator[Progress, None]:
        """Yield how far the answer is, at most twenty times a second, until it is finished; at once when there is none.

        Closing the iterator leaves the answer going on.
        """
        running = self._running.get((principal.id, conversation_id))
        seen = 0
        while running is not None:
            async with running.changed:
                await running.changed.wait_for(lambda: running.version > seen)  # noqa: B023 - awaited here
            seen = running.version
            if not running.keep:
                return
            progress = running.progress
            yield progress
            if progress.finished:
                return
            await asyncio.sleep(_REFRESH_S)


class _Running:
    """One answer under way, and its latest state."""

    def __init__(self, runtime: Runtime, question: Question) -> None:
        self._runtime = runtime
        self._question = question
        self.task: asyncio.Task[None] | None = None
        self.keep = True
        self.changed = asyncio.Condition()
        self.version = 1
        self.progress = Progress(question.text, status="Searching the documents…")

    async def run(self) -> None:
        """Answer, keep the conversation, and tell the followers; never raises."""
        end = Progress(self._question.text, finished=True)
        try:
            await self._answer()
            end = replace(self.progress, finished=True)
        except asyncio.CancelledError:
            view = self.progress.view or AnswerView(content="")
            end = replace(end, view=replace(view, outcome="stopped"))
        except KeepstoneError as error:
            end = replace(end, view=self.progress.view, error=error)
        except Exception:  # the end of a task: the person must learn of it, and the log must have the reason
            log.exception("answering_failed")
            end = replace(end, error=KeepstoneError("Something went wrong in Keepstone", fix="The log has the reason"))
        await self._keep(end)

    async def _keep(self, end: Progress) -> None:
        if self.keep and end.view is not None and end.view.content:
            try:
                await asyncio.to_thread(self._append, end.view)
            except KeepstoneError as error:
                log.info("answer_not_kept", reason=error.code)
                end = end if isinstance(error, NotFound) else replace(end, error=error)
        await self._tell(end)

    def _append(self, view: AnswerView) -> None:
        asked = self._question
        self._runtime.conversations.append(asked.principal, asked.conversation_id, "assistant", view.content, view.id)

    async def _answer(self) -> None:
        await self._wait_for_engine()
        async with aclosing(self._events()) as produced:
            async for event in produced:
                await self._take(event)

    def _events(self) -> AsyncGenerator[RunEvent, None]:
        asked = self._question
        where = asked.collections
        if asked.agent:
            brief = Brief(history=tuple(asked.history))
            return self._runtime.agent.run(asked.principal, asked.text, collections=where, brief=brief)
        return self._runtime.answerer.answer(asked.principal, asked.text, collections=where, history=asked.history)

    async def _wait_for_engine(self) -> None:
        while (state := await engine_state(self._runtime)).state == "starting":
            await self._tell(Progress(self._question.text, status=state.message))
            await asyncio.sleep(_ENGINE_POLL_S)

    async def _take(self, event: RunEvent) -> None:
        view = self.progress.view or AnswerView(content="")
        match event:
            case Thought() | Called() | Observed():
                stepped = replace(view, steps=with_event(view.steps, event))
                await self._tell(Progress(self._question.text, status=doing(event), view=stepped))
            case RunFinished(outcome="failed"):
                raise KeepstoneError(event.error or "The run failed")
            case Searching():
                await self._tell(replace(self.progress, status="Searching the documents…"))
            case Found():
                found = replace(
                    view, id=event.answer_id or None, sources=tuple(Source.of(passage) for passage in event.passages)
                )
                names = {source.document_id for source in found.sources}
                await self._tell(Progress(self._question.text, status=_reading(len(names)), view=found))
            case TextDelta():
                longer = replace(view, content=view.content + event.text, claims=event.claims)
                await self._tell(replace(self.progress, view=longer))
            case Finished():
                await self._tell(Progress(self._question.text, view=AnswerView.of(event.answer, view.steps)))

    async def _tell(self, progress: Progress) -> None:
        self.progress = progress
        self.version += 1
        async with self.changed:
            self.changed.notify_all()


def _reading(documents: int) -> str:
    if documents == 0:
        return "Nothing relevant found…"
    return f"Reading {documents} document{'s' if documents != 1 else ''}…"

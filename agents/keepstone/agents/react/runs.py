"""Runs of the agent: started, watched, stopped, and gone on with after a restart.

    async for event in runs.run(principal, "How much do three monitors cost?", collections=["prices"]): ...

A run is a task of its own: it goes on when nobody watches, and what it did is in the database after every step. All
methods that are coroutines belong to the event loop of the app.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial

import anyio
import structlog
from anyio.to_thread import run_sync

from keepstone.agents.answering import LONGEST_QUESTION, Answerer
from keepstone.agents.react.brief import Brief
from keepstone.agents.react.leases import RunLeases, keep_leases
from keepstone.agents.react.live import LiveRun
from keepstone.agents.react.records import AgentRun, AgentRunDetails, RunRecords, StoredRun, outcome_of
from keepstone.agents.react.telling import told
from keepstone.agents.react.types import Budget, RunEvent, RunFinished, RunStarted
from keepstone.agents.react.walk import Walker
from keepstone.agents.tools.base import Tool
from keepstone.platform.access import Principal
from keepstone.platform.database import Database
from keepstone.platform.errors import EngineUnavailable, InvalidInput, KeepstoneError, LimitExceeded
from keepstone.platform.serving.engine import Engine
from keepstone.retrieval.library import Library
from keepstone.retrieval.search import Searcher

_MAX_PROMPT_CHARS = 500_000
_MAX_LIVE = 8
_AT_ONCE_AFTER_RESTART = 4
_ENGINE_POLL_S = 2.0

log = structlog.get_logger(__name__)


class AgentRuns:
    """The agent of an installation.

    Args:
        database: where runs are kept.
        searcher: for the tools.
        library: for the tools.
        engine: decides what to do next.
        answerer: writes the answer from what was found.
        tools: returns the tools of a run that begins; they may come and go.
        budget: how far a run may go unless it is told otherwise.
        worker: name of this process, the same after a restart; two that share the database have two names.
        engine_wait_s: how long interrupted runs wait for the engine after a restart.
    """

    def __init__(
        self,
        *,
        database: Database,
        searcher: Searcher,
        library: Library,
        engine: Engine,
        answerer: Answerer,
        tools: Callable[[], Iterable[Tool]],
        budget: Budget,
        worker: str = "local",
        engine_wait_s: float = 900.0,
    ) -> None:
        self._walker = Walker(
            database=database, searcher=searcher, library=library, engine=engine, answerer=answerer, tools=tools
        )
        self._engine = engine
        self.budget = budget
        self._engine_wait_s = engine_wait_s
        self._records = RunRecords(database)
        self._leases = RunLeases(database, worker)
        self._keeper: asyncio.Task[None] | None = None
        self._live: dict[str, LiveRun] = {}
        self._owners: dict[str, str] = {}

    async def start(
        self,
        principal: Principal,
        question: str,
        *,
        collections: Sequence[str] | None = None,
        budget: Budget | None = None,
        brief: Brief | None = None,
    ) -> str:
        """Begin a run and return its id.

        Args:
            principal: whose documents are searched, and who alone may watch it.
            question: what is to be answered.
            collections: names or ids; None means all readable ones. With none at all the model answers by itself.
            budget: how far it may go; None takes the setting.
            brief: what else there is to know.

        Raises:
            InvalidInput: the question is empty or far too long.
            NotFound: there is no such collection.
            LimitExceeded: too many runs of this principal are under way.
        """
        question = question.replace("\0", "").strip()
        if not question:
            raise InvalidInput("The question is empty", fix="Type a question")
        longest = LONGEST_QUESTION if collections is None or collections else _MAX_PROMPT_CHARS
        if len(question) > longest:
            raise InvalidInput("The question is too long", fix=f"Use at most {longest} characters")
        if sum(owner == principal.id for owner in self._owners.values()) >= _MAX_LIVE:
            raise LimitExceeded(f"{_MAX_LIVE} of your runs are under way", fix="Wait for one, or cancel it")
        begin = partial(self._records.begin, worker=self._leases.worker)
        stored = await run_sync(begin, principal, question, collections, budget or self.budget, brief)
        live = self._open(stored.id, principal.id)
        live.task = asyncio.create_task(self._work(stored, live, fresh=True), name=stored.id)
        return stored.id

    async def run(
        self,
        principal: Principal,
        question: str,
        *,
        collections: Sequence[str] | None = None,
        budget: Budget | None = None,
        brief: Brief | None = None,
    ) -> AsyncGenerator[RunEvent, None]:
        """Begin a run and yield its events; closing the iterator cancels it. Raises as `start` does."""
        run_id = await self.start(principal, question, collections=collections, budget=budget, brief=brief)
        try:
            async with aclosing(self.stream(principal, run_id)) as events:
                async for event in events:
                    yield event
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop(run_id)

    async def stream(self, principal: Principal, run_id: str) -> AsyncGenerator[RunEvent, None]:
        """Yield the events of a run from its first on, and wait for those to come.

        Of a run that was over before, the steps are told and its end.

        Raises:
            NotFound: the principal has no such run.
        """
        details = await run_sync(self._records.get, principal, run_id)
        live = self._live.get(run_id)
        if live is None:
            # It may have ended between the two lines above.
            details = await run_sync(self._records.get, principal, run_id)
            yield RunStarted(run_id)
            for before in told(details.steps, details.carried):
                yield before
            yield RunFinished(run_id, outcome_of(details.run), None, details.run.error)
            return
        async with aclosing(live.watch()) as events:
            async for event in events:
                yield event

    async def cancel(self, principal: Principal, run_id: str) -> AgentRun:
        """Stop a run, wherever it is, and return it as it is then; one that is over stays as it is."""
        await run_sync(self._records.authorize, principal, run_id, "write")
        await self._stop(run_id)
        await run_sync(self._end, run_id, "cancelled", "cancelled", None)
        return await run_sync(self._records.authorize, principal, run_id, "read")

    def get(self, principal: Principal, run_id: str) -> AgentRunDetails:
        """Return a run with its steps and its answer."""
        return self._records.get(principal, run_id)

    def recent(self, principal: Principal, limit: int = 50) -> list[AgentRun]:
        """Return the principal's runs, the latest first."""
        return self._records.recent(principal, limit)

    async def delete(self, principal: Principal, run_id: str) -> None:
        """Stop a run and remove it with its steps and its answer."""
        await self.cancel(principal, run_id)
        await run_sync(self._records.delete, principal, run_id)

    async def resume(self) -> list[str]:
        """Go on with what an earlier process left undone, as soon as the engine answers; return the ids of the runs."""
        waiting = [run_id for run_id in await run_sync(self._leases.claim) if run_id not in self._live]
        self._take_up(waiting)
        if self._leases.shared:
            self._keeper = asyncio.create_task(
                keep_leases(self._leases, self._live, self._take_up), name="agent-leases"
            )
        return waiting

    async def close(self) -> None:
        """Let go of all runs, without ending them: they go on at the next start."""
        tasks = [task for task in (self._keeper, *(live.task for live in self._live.values())) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take_up(self, run_ids: Sequence[str]) -> None:
        slots = asyncio.Semaphore(_AT_ONCE_AFTER_RESTART)
        for run_id in run_ids:
            live = self._open(run_id, owner="")
            live.task = asyncio.create_task(self._go_on(run_id, live, slots), name=run_id)
        if run_ids:
            log.info("agent.resumed", runs=len(run_ids))

    def _open(self, run_id: str, owner: str) -> LiveRun:
        live = self._live[run_id] = LiveRun()
        self._owners[run_id] = owner
        live.add(RunStarted(run_id))
        return live

    async def _stop(self, run_id: str) -> None:
        """Stop a run of this process, and wait until that is stored."""
        live = self._live.get(run_id)
        if live is None or live.task is None:
            return
        live.cancelled = True
        live.task.cancel()
        await asyncio.wait((live.task,))
        if not live.over:  # it had not even begun
            await self._interrupted(run_id, live)

    async def _go_on(self, run_id: str, live: LiveRun, slots: asyncio.Semaphore) -> None:
        """Go on with a run that a restart interrupted."""
        try:
            async with slots:
                stored = await run_sync(self._records.reopen, run_id)
                if stored.outcome is not None:
                    self._close(run_id, live, RunFinished(run_id, stored.outcome, None))
                    return
                await self._engine_answers()
                await self._work(stored, live, fresh=False)
        except KeepstoneError as error:
            await self._fail(run_id, live, error)
        except asyncio.CancelledError:
            await self._interrupted(run_id, live)
            raise

    async def _engine_answers(self) -> None:
        try:
            async with asyncio.timeout(self._engine_wait_s):
                while not await self._engine.ready():  # noqa: ASYNC110 - it is another process that gets ready
                    await asyncio.sleep(_ENGINE_POLL_S)
        except TimeoutError:
            raise EngineUnavailable("The engine did not start", fix="Run `keepstone status`, and ask again") from None

    async def _work(self, stored: StoredRun, live: LiveRun, *, fresh: bool) -> None:
        """Walk the graph to its end and store how it ended. The boundary at which a run's errors stop."""
        try:
            outcome, answer = await self._walker.walk(stored, live, fresh=fresh)
        except KeepstoneError as error:
            await self._fail(stored.id, live, error)
        except asyncio.CancelledError:
            await self._interrupted(stored.id, live)
            raise
        except Exception as error:
            log.exception("agent.failed", run=stored.id)
            await self._fail(
                stored.id, live, KeepstoneError(f"The run failed ({type(error).__name__})", fix="See the log")
            )
        else:
            await self._finish(live, "finished", RunFinished(stored.id, outcome, answer))

    async def _fail(self, run_id: str, live: LiveRun, error: KeepstoneError) -> None:
        log.warning("agent.stopped", run=run_id, code=error.code)
        await self._finish(live, "failed", RunFinished(run_id, "failed", None, str(error)))

    async def _interrupted(self, run_id: str, live: LiveRun) -> None:
        """Store that a person stopped it; a run that the end of the process stopped stays as it is."""
        if live.cancelled:
            await asyncio.shield(self._finish(live, "cancelled", RunFinished(run_id, "cancelled", None)))
        else:
            self._close(run_id, live, None)

    async def _finish(self, live: LiveRun, state: str, last: RunFinished) -> None:
        """Store how a run ended and tell those who watch; they are told also when it cannot be stored."""
        try:
            await run_sync(self._end, last.run_id, state, last.outcome, last.error)
        except KeepstoneError as error:  # it goes on at the next start, and ends again
            log.warning("agent.end_not_stored", run=last.run_id, code=error.code)
        finally:
            self._close(last.run_id, live, last)

    def _end(self, run_id: str, state: str, outcome: str | None, error: str | None) -> None:
        self._records.end(run_id, state, outcome=outcome, error=error)

    def _close(self, run_id: str, live: LiveRun, last: RunFinished | None) -> None:
        if live.over:
            return
        if last is not None:
            live.add(last)
        live.end()
        self._live.pop(run_id, None)
        self._owners.pop(run_id, None)

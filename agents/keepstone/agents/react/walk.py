"""One run, walked through the graph to its end from wherever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, cast

from keepstone.agents.answering import Answerer
from keepstone.agents.react.live import LiveRun
from keepstone.agents.react.records import StoredRun
from keepstone.agents.react.telling import told
from keepstone.agents.react.types import RunEvent, RunOutcome
from keepstone.agents.tools.base import Tool, ToolContext
from keepstone.agents.types import Answer, Finished
from keepstone.platform.database import Database
from keepstone.platform.serving.engine import Engine
from keepstone.retrieval.library import Library
from keepstone.retrieval.search import Searcher

if TYPE_CHECKING:
    from keepstone.agents.react.checkpoints import DatabaseSaver
    from keepstone.agents.react.graph import AgentGraph


class Walker:
    """What runs are walked with. langgraph is loaded with the first one, since that takes a while.

    Args:
        database: where the states are kept.
        searcher: for the tools.
        library: for the tools.
        engine: decides what to do next.
        answerer: writes the answer from what was found.
        tools: returns the tools of a run that begins; they may come and go.
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
    ) -> None:
        self._database = database
        self._searcher = searcher
        self._library = library
        self._engine = engine
        self._answerer = answerer
        self._tools = tools

    async def walk(self, run: StoredRun, live: LiveRun, *, fresh: bool) -> tuple[RunOutcome, Answer | None]:
        """Walk a run to its end, telling `live` what happens; return how it ended, and its answer if it has one.

        Args:
            run: which.
            live: is told all of it, what was done before a restart included.
            fresh: whether nothing of it is kept yet.

        Raises:
            KeepstoneError: it cannot be gone on with; what was done so far is kept.
        """
        from langsmith import tracing_context

        from keepstone.agents.react.graph import RunContext, expected_steps

        tools = self._tools_of(run)
        context = RunContext(
            run_id=run.id,
            answer_id=run.answer_id,
            tools=tools,
            brief=run.brief,
            context=ToolContext(run.principal, run.collections, self._database, self._searcher, self._library),
            engine=self._engine,
            answerer=self._answerer,
            budget=run.budget,
            count=lru_cache(maxsize=256)(self._engine.count_tokens),
        )
        config: Any = {"configurable": {"thread_id": run.id}, "recursion_limit": expected_steps(run.budget)}
        kept = None if fresh else await self._saver.aget_tuple(config)
        begin = None if kept else await self._first_state(run, tools)
        state = kept.checkpoint["channel_values"] if kept else begin or {}
        for before in told(state["steps"], state.get("carried", 0)):
            live.add(before)
        answer: Answer | None = None
        # Nothing leaves this machine, whatever langchain's variables say.
        with tracing_context(enabled=False):
            walk = self._graph.astream(begin, config, context=context, stream_mode="custom", durability="sync")
            async for written in walk:
                event = cast("RunEvent", written)  # langgraph types states, not what nodes write
                live.add(event)
                if isinstance(event, Finished):
                    answer = event.answer
        last = await self._saver.aget_tuple(config)
        outcome: RunOutcome | None = last.checkpoint["channel_values"].get("outcome") if last else None
        return outcome or "stopped", answer

    async def _first_state(self, run: StoredRun, tools: dict[str, Tool]) -> dict[str, Any]:
        from keepstone.agents.react.graph import first_state

        standalone = run.question
        if run.collections != ():
            standalone = await self._answerer.standalone(run.question, run.brief.history)
        return asdict(first_state(run.question, standalone, tools, run.brief))

    def _tools_of(self, run: StoredRun) -> dict[str, Tool]:
        """Return what a run may call: without documents, only what its caller brought."""
        offered = () if run.collections == () else self._tools()
        wanted = run.brief.tools
        ours = {tool.name: tool for tool in offered if wanted is None or tool.name in wanted}
        return ours | {function.name: function.as_tool() for function in run.brief.functions}

    @cached_property
    def _graph(self) -> AgentGraph:
        from keepstone.agents.react.graph import build_graph

        return build_graph(self._saver)

    @cached_property
    def _saver(self) -> DatabaseSaver:
        from keepstone.agents.react.checkpoints import DatabaseSaver

        return DatabaseSaver(self._database)

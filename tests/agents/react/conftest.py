"""A house with a scripted model in which an agent works."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from keepstone.agents.react.runs import AgentRuns
from keepstone.agents.react.types import Budget, RunEvent
from keepstone.agents.tools.base import Tool
from keepstone.agents.tools.standard import STANDARD_TOOLS
from keepstone.platform.access import Principal
from keepstone.platform.serving.engine import ChatRequest, Reply
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.runtime import Runtime
from tests.stack import NEVER_DECLINES, admin, ingest, open_stack

ANSWER = "The warranty lasts two years. [1]"
READY = json.dumps({"thought": "I have it.", "answer": True})


def calls(*calls: tuple[str, dict[str, Any]], thought: str = "I look.") -> str:
    """Return a decision to call tools."""
    listed = [{"tool": tool, "arguments": arguments} for tool, arguments in calls]
    return json.dumps({"thought": thought, "calls": listed})


def decides(request: ChatRequest) -> bool:
    """Tell whether a request asks for a decision rather than for the answer."""
    return request.json_schema is not None


class Model(ScriptedEngine):
    """Decides as scripted, then is ready; writes the same answer each time."""

    def __init__(self) -> None:
        super().__init__(default=self._reply, max_model_len=8192)
        self.decisions: list[str] = []
        self.ponders = False
        """Switch it on for decisions that never come."""

    async def chat(self, request: ChatRequest) -> Reply:
        if self.ponders:
            await asyncio.Event().wait()
        return await super().chat(request)

    def _reply(self, request: ChatRequest) -> str:
        if not decides(request):
            return ANSWER
        return self.decisions.pop(0) if self.decisions else READY

    @property
    def asked(self) -> list[ChatRequest]:
        """The requests for decisions."""
        return [request for request in self.history if decides(request)]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Runtime]:
    with open_stack(tmp_path_factory.mktemp("home"), engine=model, answering=NEVER_DECLINES) as runtime:
        files = {
            "warranty.md": b"# Warranty\n\nThe warranty lasts two years from the day of purchase.",
            "prices.md": b"# Prices\n\nA monitor costs 860 euros. A keyboard costs 40 euros.",
        }
        ingest(runtime, admin(runtime), "shop", files)
        yield runtime


@pytest.fixture
def me(runtime: Runtime) -> Principal:
    return admin(runtime)


def make_runs(runtime: Runtime, *more: Tool, budget: Budget | None = None, wait_s: float = 5.0) -> AgentRuns:
    """Return the agent of a process; another one on the same runtime is the process after a restart."""
    return AgentRuns(
        database=runtime.database,
        searcher=runtime.searcher,
        library=runtime.library,
        engine=runtime.engine,
        answerer=runtime.answerer,
        tools=lambda: (*STANDARD_TOOLS, *more),
        budget=budget or Budget(),
        engine_wait_s=wait_s,
    )


def of_kind(events: list[RunEvent], kind: type) -> list[Any]:
    """Return the events of one kind."""
    return [each for each in events if isinstance(each, kind)]

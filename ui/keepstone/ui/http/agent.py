"""Runs of the agent: begin one, watch it step by step, stop it, look at those before. All of it is the caller's own.

A streamed run is told in server-sent events, one JSON object each:

    {"type": "started", "run_id": "run_..."}
    {"type": "thought", "step": 1, "text": "..."}
    {"type": "call", "step": 1, "tool": "search", "arguments": {"query": "..."}}
    {"type": "observation", "step": 1, "tool": "search", "text": "...", "failed": false}
    {"type": "text", "text": "..."}                                        # more of the answer
    {"type": "finished", "run_id": "run_...", "outcome": "answered", "content": "... [1]", "reason": null,
     "keepstone": {...}}                                                   # the evidence, as in chat completions

A run goes on when its client leaves; cancel it to stop it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from keepstone.agents.react.records import AgentRun
from keepstone.agents.react.types import Called, Observed, RunEvent, RunFinished, RunStarted, Thought
from keepstone.agents.types import TextDelta
from keepstone.platform.access import Principal
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.listings import Listing
from keepstone.ui.http.streams import DONE, EventResponse, event
from keepstone.ui.http.wire import evidence_of
from keepstone.ui.runtime import Runtime

router = APIRouter(prefix="/v1/agent/runs", tags=["agent"])


class NewRun(BaseModel, extra="forbid"):
    """What the agent is to find out."""

    question: Annotated[str, Field(max_length=10_000)]
    collections: Annotated[list[str], Field(min_length=1, max_length=100)] | None = None
    """Names or ids; null means all that the caller may read."""
    max_steps: Annotated[int, Field(ge=1, le=50)] | None = None
    """Most decisions of the model; null takes the setting."""
    stream: bool = False
    """Whether to answer with the events as they come instead of with the run's state."""


class Run(BaseModel):
    """A run in a list."""

    id: str
    question: str
    state: str
    """`running`, `finished`, `cancelled` or `failed`."""
    outcome: str | None
    reason: str | None
    """Why it failed."""
    created_at: datetime
    updated_at: datetime


class RunDetails(Run):
    """A run with what was done in it."""

    steps: list[dict[str, Any]]
    """`{"thought", "calls": [{"tool", "arguments"}], "observations": [{"text", "error"}], "tokens", "ms"}` each. The
    observations of calls that found passages have them as `found`: `[chunk id, score, dense score, lexical score]`."""
    ended: str | None
    """Why it went on to its answer: `model` (it was ready), `steps`, `tokens`, `seconds`, `loop`, `unreadable`, `room`.
    """
    tokens: int
    seconds: float
    answer_id: str | None
    answer: str | None


@router.post("", status_code=202, response_model=None)
async def begin_run(asked: NewRun, principal: CurrentPrincipal, runtime: TheRuntime) -> Response:
    """Begin a run; with `stream`, tell its events until it is over."""
    budget = replace(runtime.agent.budget, steps=asked.max_steps) if asked.max_steps else None
    run_id = await runtime.agent.start(principal, asked.question, collections=asked.collections, budget=budget)
    if asked.stream:
        return EventResponse(_told(runtime, principal, run_id))
    details = await run_in_threadpool(_details, runtime, principal, run_id)
    return JSONResponse(details.model_dump(mode="json"), status_code=202)


@router.get("")
def list_runs(
    principal: CurrentPrincipal, runtime: TheRuntime, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> Listing[Run]:
    """List the caller's runs, the latest first."""
    return Listing(data=[Run(**_fields(run)) for run in runtime.agent.recent(principal, limit)])


@router.get("/{run_id}")
def get_run(run_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> RunDetails:
    """Return a run with its steps and its answer."""
    return _details(runtime, principal, run_id)


@router.get("/{run_id}/events", response_model=None)
async def watch_run(run_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Response:
    """Tell the events of a run, from its first on, until it is over."""
    return EventResponse(_told(runtime, principal, run_id))


@router.post("/{run_id}/cancel")
async def cancel_run(run_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Run:
    """Stop a run."""
    return Run(**_fields(await runtime.agent.cancel(principal, run_id)))


@router.delete("/{run_id}", status_code=204, response_class=Response)
async def delete_run(run_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> None:
    """Stop a run, and delete it with its steps and its answer."""
    await runtime.agent.delete(principal, run_id)


def _details(runtime: Runtime, principal: Principal, run_id: str) -> RunDetails:
    found = runtime.agent.get(principal, run_id)
    return RunDetails(
        **_fields(found.run),
        steps=[dict(step) for step in found.steps],
        ended=found.ended,
        tokens=found.tokens,
        seconds=found.seconds,
        answer_id=found.answer_id,
        answer=found.answer,
    )


def _fields(run: AgentRun) -> dict[str, Any]:
    fields = asdict(run)
    return fields | {"reason": fields.pop("error")}


async def _told(runtime: Runtime, principal: Principal, run_id: str) -> AsyncGenerator[bytes, None]:
    async with aclosing(runtime.agent.stream(principal, run_id)) as events:
        async for each in events:
            shown = _shown(each)
            if shown:
                yield event(shown)
    yield DONE


def _shown(each: RunEvent) -> dict[str, Any] | None:
    """Return an event as clients see it; None for one that is not for them."""
    if isinstance(each, RunStarted):
        return {"type": "started", "run_id": each.run_id}
    if isinstance(each, TextDelta):
        return {"type": "text", "text": each.text}
    if isinstance(each, RunFinished):
        return {
            "type": "finished",
            "run_id": each.run_id,
            "outcome": each.outcome,
            "content": each.answer.content if each.answer else None,
            "reason": each.error,
            "keepstone": evidence_of(each.answer) if each.answer else None,
        }
    return _shown_step(each) if isinstance(each, Thought | Called | Observed) else None


def _shown_step(each: Thought | Called | Observed) -> dict[str, Any]:
    if isinstance(each, Thought):
        return {"type": "thought", "step": each.step, "text": each.text}
    if isinstance(each, Called):
        return {"type": "call", "step": each.step, "tool": each.tool, "arguments": dict(each.arguments)}
    return {"type": "observation", "step": each.step, "tool": each.tool, "text": each.text, "failed": each.error}

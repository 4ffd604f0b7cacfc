"""The graph of an agent's run: decide, act, decide, ..., answer. langgraph walks it and keeps the state after each one.

A node may be done again after a kill, from the state before it: deciding and acting change nothing but the state, and
the answer is stored under an id that the run knows beforehand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from keepstone.agents.answering import Answerer
from keepstone.agents.react.brief import Brief
from keepstone.agents.react.decisions import STEP_TOKENS, Call, Decision, decision_schema, read_decision
from keepstone.agents.react.findings import found_in, gather
from keepstone.agents.react.plain import answer_plainly
from keepstone.agents.react.prompts import agent_prompt
from keepstone.agents.react.telling import observed_event
from keepstone.agents.react.types import Budget, Called, Ended, RunState, Thought
from keepstone.agents.tools.base import Observation, Tool, ToolContext
from keepstone.agents.types import Finished
from keepstone.platform.errors import LimitExceeded
from keepstone.platform.serving.engine import ChatRequest, Engine

Node = Literal["decide", "act", "answer", "__end__"]
Update = dict[str, Any]

_KNOWN = "You have this already: see the observation above."
_MARGIN = 32
_UNREADABLE_AT_MOST = 2
_CALLED_AT_MOST = 3
_SEARCHED_CHARS = 1000
_WAITING: Final = {"text": "The caller makes this call.", "error": False, "waiting": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What a run works with; none of it is kept."""

    run_id: str
    answer_id: str
    """Under which the answer will be stored."""
    tools: Mapping[str, Tool]
    """All that may be called, the caller's functions among them."""
    brief: Brief
    context: ToolContext
    engine: Engine
    answerer: Answerer
    budget: Budget
    count: Callable[[str], int]
    """Counts tokens; it may remember texts, which come again at every step."""


AgentGraph = CompiledStateGraph[RunState, RunContext, Any, Any]


def build_graph(saver: BaseCheckpointSaver[int]) -> AgentGraph:
    """Return the graph, whose states `saver` keeps."""
    graph = StateGraph(RunState, context_schema=RunContext)
    graph.add_node("decide", _decide)
    graph.add_node("act", _act)
    graph.add_node("answer", _answer)
    graph.add_conditional_edges(START, _next)
    graph.add_conditional_edges("decide", _next)
    graph.add_conditional_edges("act", _next)
    graph.add_edge("answer", END)
    return graph.compile(checkpointer=saver)


def first_state(question: str, standalone: str, tools: Mapping[str, Tool], brief: Brief) -> RunState:
    """Return the state that a run begins with: where there is a search, the question itself is searched for first.

    That spares the model a step, and even one that cannot phrase a query gets what a plain question would find.
    """
    state = RunState(
        question, standalone, steps=[dict(step) for step in brief.steps], carried=len(brief.steps), notes=[*brief.notes]
    )
    if not tools:
        state.ended = "model"
    elif "search" in tools and not any(found_in(state.steps)):
        call = {"tool": "search", "arguments": {"query": standalone[:_SEARCHED_CHARS]}}
        step = {"thought": "First I search for the question itself.", "calls": [call], "observations": [], "tokens": 0}
        state.steps.append(step)
    return state


def _next(state: RunState) -> Node:
    if state.ended:
        return "answer" if state.outcome is None else "__end__"
    waiting = bool(state.steps) and len(state.steps[-1]["observations"]) < len(state.steps[-1]["calls"])
    return "act" if waiting else "decide"


async def _decide(state: RunState, runtime: Runtime[RunContext]) -> Update:
    """Let the model decide on the next step."""
    run, began = runtime.context, time.monotonic()
    spent = _spent(state, run.budget)
    if spent:
        return {"ended": spent}
    tools = list(run.tools.values())
    room = run.engine.max_model_len - STEP_TOKENS - _MARGIN
    messages = agent_prompt(
        state.question,
        state.steps,
        tools,
        room=room,
        count=run.count,
        history=run.brief.history,
        instructions=run.brief.instructions,
    )
    request = ChatRequest(messages=messages, max_tokens=STEP_TOKENS, json_schema=decision_schema(tools))
    try:
        async with asyncio.timeout(run.budget.seconds - state.seconds):
            reply = await run.engine.chat(request)
    except (LimitExceeded, TimeoutError) as error:
        ended: Ended = "room" if isinstance(error, LimitExceeded) else "seconds"
        return {"ended": ended, "seconds": state.seconds + time.monotonic() - began}
    tokens = reply.prompt_tokens + reply.completion_tokens
    written = state.written + reply.completion_tokens
    update: Update = {"tokens": state.tokens + tokens, "written": written, "unreadable": 0}
    step: dict[str, Any] = {"thought": "", "calls": [], "observations": [], "tokens": tokens}
    try:
        decision = read_decision(reply.text, run.tools)
    except ValueError as error:
        step["observations"] = [{"text": f"{error}. Write one short JSON object.", "error": True}]
        update["unreadable"] = state.unreadable + 1
        if update["unreadable"] >= _UNREADABLE_AT_MOST:
            update["ended"] = "unreadable"
    else:
        runtime.stream_writer(Thought(len(state.steps) + 1, decision.thought))
        step |= {"thought": decision.thought, "calls": [_as_json(call) for call in decision.calls]}
        update |= _consequences(state, decision)
    step["ms"] = _milliseconds(began)
    return update | {"steps": [*state.steps, step], "seconds": state.seconds + time.monotonic() - began}


def _consequences(state: RunState, decision: Decision) -> Update:
    """Return whether the run goes on to its answer: the model is ready, or turns in circles."""
    if not decision.calls:
        return {"ended": "model"}
    if all(state.made.get(call.key, 0) >= _CALLED_AT_MOST - 1 for call in decision.calls):
        return {"ended": "loop"}
    return {}


async def _act(state: RunState, runtime: Runtime[RunContext]) -> Update:
    """Make the calls of the last step, all at once."""
    run, began = runtime.context, time.monotonic()
    number = len(state.steps)
    step = state.steps[-1]
    calls = [Call(each["tool"], each["arguments"]) for each in step["calls"]]
    made = dict(state.made)
    theirs = {function.name for function in run.brief.functions}
    work: list[asyncio.Task[Observation] | None] = []
    async with asyncio.TaskGroup() as group:
        for at, call in enumerate(calls):
            runtime.stream_writer(Called(number, call.tool, call.arguments, at))
            made[call.key] = made.get(call.key, 0) + 1
            ours = made[call.key] == 1 and call.tool not in theirs
            work.append(group.create_task(_call(run, call)) if ours else None)
    limit = max(400, 2 * run.engine.max_model_len // (1 + len(calls)))
    seen: list[dict[str, Any]] = []
    notes: list[str] = []
    for at, (call, task) in enumerate(zip(calls, work, strict=True)):
        if call.tool in theirs:
            seen.append(_WAITING)
            continue
        observed = task.result() if task else Observation(_KNOWN, error=True)
        seen.append(_as_seen(observed, limit))
        runtime.stream_writer(observed_event(number, at, call.tool, seen[-1]))
        notes += [observed.note] if observed.note else []
    done = {**step, "observations": seen, "ms": step.get("ms", 0.0) + _milliseconds(began)}
    update: Update = {"ended": "functions", "outcome": "waiting"} if _WAITING in seen else {}
    return update | {
        "steps": [*state.steps[:-1], done],
        "notes": [*state.notes, *notes],
        "made": made,
        "seconds": state.seconds + time.monotonic() - began,
    }


async def _call(run: RunContext, call: Call) -> Observation:
    tool = run.tools.get(call.tool)
    if tool is None:  # it was there before a restart
        return Observation(f"There is no tool {call.tool} any more", error=True)
    return await tool.call(run.context, call.arguments)


async def _answer(state: RunState, runtime: Runtime[RunContext]) -> Update:
    """Answer from what was found, as chat does, with checked citations; without documents, as the bare model does."""
    run = runtime.context
    if run.context.collections == ():
        return await answer_plainly(state, run.brief, run.engine, run.count, runtime.stream_writer)
    theirs = [function.name for function in run.brief.functions]
    findings = await gather(state, run.context, run_id=run.run_id, answer_id=run.answer_id, functions=theirs)
    outcome = "stopped"
    answer = run.answerer.answer(
        run.context.principal,
        state.question,
        collections=run.context.collections,
        history=run.brief.history,
        instructions=run.brief.instructions,
        max_tokens=run.brief.max_tokens,
        temperature=run.brief.temperature,
        findings=findings,
    )
    async with aclosing(answer) as events:
        async for event in events:
            runtime.stream_writer(event)
            if isinstance(event, Finished):
                outcome = event.answer.outcome
    return {"outcome": outcome}


def _spent(state: RunState, budget: Budget) -> Ended | None:
    """Return the budget that is used up, if one is. The search for the question itself is no decision."""
    decisions = sum(1 for step in state.steps[state.carried :] if step["tokens"])
    if decisions >= budget.steps:
        return "steps"
    if state.tokens >= budget.tokens:
        return "tokens"
    return "seconds" if state.seconds >= budget.seconds else None


def _as_seen(observed: Observation, limit: int) -> dict[str, Any]:
    """Return an observation as the state keeps it, its text cut to what the prompt has room for."""
    text = observed.text.replace("\0", "")
    found = [[hit.chunk_id, hit.score, hit.dense_score, hit.lexical_score] for hit in observed.hits]
    return {"text": text if len(text) <= limit else f"{text[:limit]}…", "error": observed.error, "found": found}


def _as_json(call: Call) -> dict[str, Any]:
    return {"tool": call.tool, "arguments": call.arguments}


def _milliseconds(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


def expected_steps(budget: Budget) -> int:
    """Return how many nodes a run passes at most, which langgraph wants to know."""
    return 2 * budget.steps + 8

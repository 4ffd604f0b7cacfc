"""What the agent's runtime costs per step, and whether each step of a real model keeps to its schema."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]

from benchmarks.harness import Context, Figure
from benchmarks.parts.answerability import ingest
from benchmarks.parts.serving import STARTER, bare_engine, launch_for
from benchmarks.smoke import EXAMPLES
from keepstone.agents.react.runs import AgentRuns
from keepstone.agents.react.types import Budget, Called, RunFinished, RunStarted
from keepstone.agents.tools.base import Observation, ToolContext, tool
from keepstone.agents.tools.standard import STANDARD_TOOLS
from keepstone.platform.access import Principal
from keepstone.platform.serving.engine import ChatRequest, Delta, Engine, Forwarded, Reply
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.platform.serving.vllm import Launch
from keepstone.platform.settings import load_settings
from keepstone.retrieval.encoder import HashEncoder
from keepstone.training.questions import load_questions
from keepstone.ui.runtime import Runtime

__all__ = ["STARTER", "overhead", "valid_steps"]

_STEPS = 10
_RUNS = 200
_AT_ONCE = 8


class Recording:
    """An engine that passes everything on and keeps each decision with the schema that it was asked under."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self.decisions: list[tuple[Mapping[str, Any], Reply]] = []
        self.model = inner.model
        self.max_model_len = inner.max_model_len

    def count_tokens(self, text: str) -> int:
        """Count as the engine does."""
        return self._inner.count_tokens(text)

    async def chat(self, request: ChatRequest) -> Reply:
        """Return the engine's answer."""
        reply = await self._inner.chat(request)
        if request.json_schema is not None:
            self.decisions.append((request.json_schema, reply))
        return reply

    def stream_chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Return the engine's stream."""
        return self._inner.stream_chat(request)

    async def forward(self, path: str, body: Mapping[str, Any]) -> Forwarded:
        """Pass on."""
        return await self._inner.forward(path, body)

    async def ready(self) -> bool:
        """Tell whether the engine answers."""
        return await self._inner.ready()

    async def close(self) -> None:
        """Close the engine's connections."""
        await self._inner.close()


def overhead(context: Context) -> Iterable[Figure]:
    """Yield the milliseconds that deciding and acting take by themselves: model and tool answer at once."""

    @tool
    def nothing(_context: ToolContext, number: int) -> Observation:
        """Do nothing."""
        return Observation(f"done {number}")

    def decide(request: ChatRequest) -> str:
        if request.json_schema is None:
            return "Done. [1]"
        number = sum(message.role == "assistant" for message in request.messages)
        calls = [{"tool": "nothing", "arguments": {"number": number}}]
        return json.dumps({"thought": "I go on.", "calls": calls})

    with tempfile.TemporaryDirectory(prefix="keepstone-agent-") as scratch:
        settings = load_settings(home=Path(scratch))
        with Runtime.open(settings, engine=ScriptedEngine(default=decide), encoder=HashEncoder()) as runtime:
            me = ingest(runtime, "notes", {"note.md": b"# Note\n\nA note."})
            agent = _agent(runtime, runtime.engine, Budget(steps=_STEPS), nothing)
            asyncio.run(_steps_ms(agent, me))
            steps = [each for _ in range(context.runs) for each in asyncio.run(_steps_ms(agent, me))]
    yield Figure("agent_step_overhead_ms", steps, "ms")


async def _steps_ms(agent: AgentRuns, me: Principal) -> list[float]:
    """Return the milliseconds from each call to that of the next step."""
    events = agent.run(me, "What is in the note?", collections=["notes"])
    moments = [time.perf_counter() async for event in events if isinstance(event, Called) and event.tool == "nothing"]
    return [1000 * (after - before) for before, after in itertools.pairwise(moments)]


def valid_steps(
    context: Context, home: Path, python: str, models: Sequence[str], *, runs: int = _RUNS, steps: int = 2
) -> Iterable[Figure]:
    """Yield the share of decisions that keep to their schema, in per cent, over runs of each model.

    Args:
        context: of the benchmark.
        home: a home folder with the models installed.
        python: of the environment that has vLLM.
        models: their names.
        runs: how many runs of each.
        steps: most decisions of a run.
    """
    shares, lengths = [], []
    for model in models:
        context.say(f"{runs} runs of the agent on {model}")
        recording = _record(context, launch_for(home, python, model), runs, steps)
        valid = [_is_valid(schema, reply.text) for schema, reply in recording.decisions]
        shares.append(100 * sum(valid) / len(valid))
        lengths += [reply.completion_tokens for _, reply in recording.decisions]
    # The worst counts, not the middle one.
    yield Figure("agent_valid_steps_percent", [min(shares)], "%")
    yield Figure("agent_decision_tokens", lengths, "tokens")


def _record(context: Context, launch: Launch, runs: int, steps: int) -> Recording:
    questions = [question.question for question in load_questions(EXAMPLES / "questions.jsonl")]
    asked = [f"{question}{' ?' * (number // len(questions))}" for number, question in enumerate(questions * runs)][
        :runs
    ]
    files = {path.name: path.read_bytes() for path in (EXAMPLES / "documents").iterdir()}
    with bare_engine(launch), tempfile.TemporaryDirectory(prefix="keepstone-agent-") as scratch:
        recording = Recording(launch.client())
        with Runtime.open(load_settings(home=Path(scratch)), engine=recording, encoder=HashEncoder()) as runtime:
            me = ingest(runtime, "examples", files)
            agent = _agent(runtime, recording, Budget(steps=steps))
            started = time.perf_counter()
            ended = asyncio.run(_all(agent, me, asked))
            seconds = time.perf_counter() - started
            reasons = [agent.get(me, run_id).ended for run_id, _ in ended]
    context.details.setdefault("agent", []).append(
        {
            "model": launch.model,
            "runs": len(ended),
            "decisions": len(recording.decisions),
            "cut_off": sum(reply.finish_reason == "length" for _, reply in recording.decisions),
            "ended": {str(reason): reasons.count(reason) for reason in sorted(set(map(str, reasons)))},
            "outcomes": {each: [outcome for _, outcome in ended].count(each) for each in {o for _, o in ended}},
            "seconds": round(seconds, 1),
            "examples": [reply.text for _, reply in recording.decisions[:10]],
        }
    )
    return recording


async def _all(agent: AgentRuns, me: Principal, questions: Sequence[str]) -> list[tuple[str, str]]:
    """Return id and outcome of a run for each question."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(question: str) -> tuple[str, str]:
        run_id, outcome = "", "failed"
        async with slots:
            async for event in agent.run(me, question):
                if isinstance(event, RunStarted):
                    run_id = event.run_id
                elif isinstance(event, RunFinished):
                    outcome = event.outcome
        return run_id, outcome

    return list(await asyncio.gather(*map(one, questions)))


def _is_valid(schema: Mapping[str, Any], text: str) -> bool:
    try:
        jsonschema.validate(json.loads(text, strict=False), dict(schema))  # as the agent reads it
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def _agent(runtime: Runtime, engine: Engine, budget: Budget, *more: Any) -> AgentRuns:
    return AgentRuns(
        database=runtime.database,
        searcher=runtime.searcher,
        library=runtime.library,
        engine=engine,
        answerer=runtime.answerer,
        tools=lambda: (*STANDARD_TOOLS, *more),
        budget=budget,
    )

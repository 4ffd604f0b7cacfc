"""The plain data of an agent's run, and the events by which it is streamed.

The method is ReAct (Yao et al., ICLR 2023, arXiv:2210.03629): the model thinks, calls tools, observes what they
answer, and so on, until it has what it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from keepstone.agents.types import Answer, AnswerEvent

RUNNING: Final = "running"
"""The state of a run that is not over; a row in it goes on at the next start."""
RunOutcome = Literal["answered", "declined", "waiting", "stopped", "failed", "cancelled"]
"""That of the answer; `waiting`: the caller has to call functions of its own before there can be one."""
Ended = Literal["model", "steps", "tokens", "seconds", "loop", "unreadable", "room", "functions"]
"""Why a run went on to its answer: the model was ready; a budget was used up; the same call came three times; the
model's steps could not be read; the prompt had no room for more; or, without an answer: the caller has to act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How far a run may go before it has to answer with what it has."""

    steps: int = 6
    """Decisions of the model."""
    tokens: int = 60_000
    """Tokens that the model reads and writes for its decisions."""
    seconds: float = 300.0
    """Time at work; time between a kill and the next start does not count."""


@dataclass(slots=True)
class RunState:
    """Where a run is, as it is kept after every step. Every field is a value that JSON can hold."""

    question: str
    standalone: str = ""
    """The question as it would be asked without the conversation before it."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    """`{"thought", "calls": [{"tool", "arguments"}], "observations": [{"text", "error", "found"}], "tokens", "ms"}`.

    `found` are the passages that a call found, best first: `[chunk id, score, dense score, lexical score]`. A step
    without observations has calls that are yet to be made, unless it has none; the observation of a call that the
    caller has to make says `"waiting": true` instead.
    """
    carried: int = 0
    """How many of the steps an earlier run did, which this one goes on from."""
    notes: list[str] = field(default_factory=list)
    """What tools worked out that stands in no document."""
    made: dict[str, int] = field(default_factory=dict)
    """How often each call was asked for."""
    tokens: int = 0
    written: int = 0
    """How many of the tokens the model wrote."""
    seconds: float = 0.0
    unreadable: int = 0
    """Decisions in a row that could not be read."""
    ended: str | None = None
    """One of `Ended`, once the run goes on to its answer."""
    outcome: str | None = None
    text: str = ""
    """The answer of a run without documents, in the model's own words; others are stored as answers."""
    cut: bool = False
    """Whether that answer was cut by its token budget."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run is stored and goes on whatever happens."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Thought:
    """What the model thinks before it acts. Steps count from 1."""

    step: int
    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """A tool is called."""

    step: int
    tool: str
    arguments: Mapping[str, Any]
    call: int = 0
    """Which of the step's calls, from 0."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the tool answered."""

    step: int
    tool: str
    text: str
    error: bool
    call: int = 0
    found: tuple[tuple[int, float], ...] = ()
    """The passages that it found, best first, by the ids of their chunks, with their scores."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is over."""

    run_id: str
    outcome: RunOutcome
    answer: Answer | None
    """The whole answer. None where there is none, and where the run was over before it was watched."""
    error: str | None = None
    """What went wrong, and its fix, when it failed."""


StepEvent = RunStarted | Thought | Called | Observed
RunEvent = StepEvent | AnswerEvent | RunFinished

"""From a request, and the response it goes on from, to what the agent is to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from keepstone.agents.react.brief import Brief, answered_steps
from keepstone.agents.react.records import AgentRunDetails
from keepstone.agents.react.telling import waits
from keepstone.agents.react.types import RUNNING
from keepstone.platform.errors import Conflict, InvalidInput
from keepstone.platform.serving.engine import Message
from keepstone.ui.http.responses.asked import NewResponse
from keepstone.ui.http.responses.items import call_id
from keepstone.ui.http.responses.said import Said, read_input

ABOUT: Final = "response"
"""Under which a run's brief keeps what the response repeats of its request."""
_KEPT_TURNS: Final = 40


def task_of(asked: NewResponse, previous: AgentRunDetails | None) -> tuple[str, Brief]:
    """Return the question and all else that the agent is to know.

    Args:
        asked: the request.
        previous: the run of the response that it goes on from.

    Raises:
        Conflict: that one is still at work.
        InvalidInput: there is no question, or outputs and calls of functions do not fit together.
    """
    said = read_input(asked.input)
    before = _Before(previous)
    outputs = dict(said.outputs)
    steps = before.answered(outputs)
    steps += _steps(said, outputs)
    question = said.question
    history = (*before.turns, *said.before)
    if question is None:
        if not before.waits_for:
            raise InvalidInput("There is no question", fix="End input with a message of the role 'user'")
        question, history = before.question, before.history
    brief = Brief(
        history=history[-_KEPT_TURNS:],
        instructions="\n\n".join(filter(None, [asked.instructions, *said.instructions])),
        tools=_tools(asked),
        functions=asked.functions(),
        steps=tuple(steps),
        notes=before.notes,
        max_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        about={ABOUT: asked.echo()},
    )
    return question, brief


class _Before:
    """What an earlier response leaves to the next one."""

    def __init__(self, run: AgentRunDetails | None) -> None:
        self.question = ""
        self.history: tuple[Message, ...] = ()
        self.turns: tuple[Message, ...] = ()
        """With its own question and answer."""
        self.notes: tuple[str, ...] = ()
        self.waits_for: dict[str, tuple[int, int]] = {}
        """Calls whose outputs are missing, by their ids: the step, counted from 0, and the call in it."""
        self._steps: tuple[Mapping[str, Any], ...] = ()
        if run is None:
            return
        if run.run.state == RUNNING:
            raise Conflict("The previous response is still at work", fix="Wait for its end, or cancel it")
        self.question, self.history = run.run.question, run.brief.history
        answered = (Message("assistant", run.answer),) if run.answer else ()
        self.turns = (*self.history, Message("user", self.question), *answered)
        if run.run.outcome == "waiting":
            self.notes, self._steps = run.notes, run.steps
            self.waits_for = {
                call_id(run.run.id, at + 1, number): (at, number)
                for at, step in enumerate(run.steps)
                for number, seen in enumerate(step["observations"])
                if waits(seen)
            }

    def answered(self, outputs: dict[str, str]) -> list[dict[str, Any]]:
        """Return the steps with what the functions returned, taking that out of `outputs`."""
        missing = [each for each in self.waits_for if each not in outputs]
        if missing:
            fix = "Send a function_call_output for each function_call of the previous response"
            raise InvalidInput(f"There is no output for the call {missing[0]}", fix=fix)
        return answered_steps(self._steps, {place: outputs.pop(each) for each, place in self.waits_for.items()})


def _steps(said: Said, outputs: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the functions that the input says were called, as steps."""
    for call in outputs:
        if call not in said.calls:
            fix = "Send its function_call before it, or previous_response_id"
            raise InvalidInput(f"There is no call {call[:80]!r} for this output", fix=fix)
    steps: list[dict[str, Any]] = []
    for call, (name, arguments) in said.calls.items():
        if call in said.outputs and call not in outputs:
            continue  # it was asked for by the previous response, whose steps have it
        if call not in outputs:
            fix = "Send a function_call_output for each function_call"
            raise InvalidInput(f"There is no output for the call {call[:80]!r}", fix=fix)
        seen = {"text": outputs[call], "error": False}
        steps.append(
            {"thought": "", "calls": [{"tool": name, "arguments": arguments}], "observations": [seen], "tokens": 0}
        )
    return steps


def _tools(asked: NewResponse) -> tuple[str, ...] | None:
    """Return the agent's own tools that it may use: who names tools gets no others than search."""
    if asked.tool_choice == "none":
        return ()
    return None if asked.tools is None else ("search",)

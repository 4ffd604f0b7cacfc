"""What a run is told besides its question: the turns before it, wishes, the caller's functions, earlier steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from keepstone.agents.tools.base import Observation, Tool, ToolContext
from keepstone.platform.serving.engine import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A tool that the caller brings: the model may call it, and the caller makes the call.

    A run in which the model does so ends with the outcome `waiting`. Another run goes on from its steps, once
    `answered_steps` has put in what the functions returned.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the arguments, an object; fit to decode under."""

    def as_tool(self) -> Tool:
        """Return what the model is shown; it is never run here."""
        return Tool(name=self.name, description=self.description, parameters=self.parameters, check=dict, run=_not_here)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a run is told besides its question. Everything in it is kept as JSON, so that the run can go on later."""

    history: tuple[Message, ...] = ()
    """The turns before the question."""
    instructions: str = ""
    """The asker's wishes for the answer."""
    tools: tuple[str, ...] | None = None
    """Names of our tools that the run may use; None means all that there are."""
    functions: tuple[Function, ...] = ()
    steps: tuple[Mapping[str, Any], ...] = ()
    """Steps of an earlier run to go on from, as `RunState.steps` has them, all calls answered."""
    notes: tuple[str, ...] = ()
    """What was worked out in them."""
    max_tokens: int | None = None
    """Longest answer; None takes the setting."""
    temperature: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    """What whoever begins the run wants to find again with it; the run itself has no use for it."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def of_json(cls, stored: Mapping[str, Any] | None) -> Brief:
        """Return what `to_json` made; None is that of a run that was told nothing."""
        if stored is None:
            return cls()
        tools = stored["tools"]
        return cls(
            **{
                **stored,
                "history": tuple(Message(**each) for each in stored["history"]),
                "tools": None if tools is None else tuple(tools),
                "functions": tuple(Function(**each) for each in stored["functions"]),
                "steps": tuple(stored["steps"]),
                "notes": tuple(stored["notes"]),
            }
        )


def answered_steps(
    steps: tuple[Mapping[str, Any], ...], outputs: Mapping[tuple[int, int], str]
) -> list[dict[str, Any]]:
    """Return steps in which what the caller's functions returned stands where they were waited for.

    Args:
        steps: those of a run that waits.
        outputs: by the step, counted from 0, and the call in it.

    Raises:
        KeyError: an output is missing.
    """
    answered: list[dict[str, Any]] = []
    for at, step in enumerate(steps):
        observations = [
            {"text": outputs[at, call], "error": False} if seen.get("waiting") else seen
            for call, seen in enumerate(step["observations"])
        ]
        answered.append({**step, "observations": observations})
    return answered


async def _not_here(context: ToolContext, arguments: dict[str, Any]) -> Observation:
    del context, arguments
    raise AssertionError("the caller makes this call")

"""Steps as the events by which they are told: those under way, and those that were done before anybody watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keepstone.agents.react.types import Called, Observed, StepEvent, Thought


def told(steps: Sequence[Mapping[str, Any]], carried: int) -> list[StepEvent]:
    """Return the events of steps that were done before.

    Args:
        steps: as `RunState.steps` has them.
        carried: how many of them are an earlier run's, and are not told again.
    """
    events: list[StepEvent] = []
    for number, step in enumerate(steps[carried:], carried + 1):
        if step["calls"] or step["thought"]:
            events.append(Thought(number, step["thought"]))
        made = list(enumerate(zip(step["calls"], step["observations"], strict=False)))
        events += [Called(number, call["tool"], call["arguments"], at) for at, (call, _) in made]
        events += [observed_event(number, at, call["tool"], seen) for at, (call, seen) in made if not waits(seen)]
    return events


def observed_event(step: int, call: int, tool: str, seen: Mapping[str, Any]) -> Observed:
    """Return the event of an observation that the state keeps."""
    found = tuple((each[0], each[1]) for each in seen.get("found", ()))
    return Observed(step, tool, seen["text"], seen["error"], call, found)


def waits(seen: Mapping[str, Any]) -> bool:
    """Tell whether an observation is yet to come from the caller."""
    return bool(seen.get("waiting"))

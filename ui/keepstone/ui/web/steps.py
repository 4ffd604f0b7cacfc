"""What the agent did before it answered, as HTML: thoughts, calls of tools and what they said, all folded away."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from keepstone.agents.react.telling import told
from keepstone.agents.react.types import Called, Observed, StepEvent, Thought
from keepstone.ui.web.markup import Markup, element, join

_DOING: Final = {
    "search": "Searching the documents…",
    "read": "Reading on in a document…",
    "list_documents": "Looking through the list of documents…",
    "calculator": "Calculating…",
}
_DONE: Final = {
    "search": "searched",
    "read": "read on",
    "list_documents": "looked through the list",
    "calculator": "calculated",
}
_LONGEST_LINE: Final = 120
_LONGEST_VALUE: Final = 300


@dataclass(frozen=True, slots=True)
class CallView:
    """A call of a tool, and what it said."""

    tool: str
    arguments: Mapping[str, Any]
    seen: str | None = None
    """None until it has answered."""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class StepView:
    """A thought and what was done upon it. Steps count from 1; those in which nothing could be read are not shown."""

    number: int
    thought: str = ""
    calls: tuple[CallView, ...] = ()


Steps = tuple[StepView, ...]


def steps_of(stored: Sequence[Mapping[str, Any]], carried: int = 0) -> Steps:
    """Return the steps of a run, as `RunState.steps` has them."""
    steps: Steps = ()
    for event in told(stored, carried):
        steps = with_event(steps, event)
    return steps


def with_event(steps: Steps, event: StepEvent) -> Steps:
    """Return the steps with what has just been thought, called or observed."""
    if not isinstance(event, Thought | Called | Observed):
        return steps
    before, step = steps, StepView(event.step)
    if steps and steps[-1].number == event.step:
        before, step = steps[:-1], steps[-1]
    match event:
        case Thought():
            step = replace(step, thought=event.text)
        case Called():
            step = replace(step, calls=(*step.calls, CallView(event.tool, event.arguments)))
        case Observed():
            answered = replace(step.calls[event.call], seen=event.text, failed=event.error)
            step = replace(step, calls=(*step.calls[: event.call], answered, *step.calls[event.call + 1 :]))
    return (*before, step)


def doing(event: StepEvent) -> str:
    """Return what is being done now, in words."""
    return _DOING.get(event.tool, f"Using {event.tool}…") if isinstance(event, Called) else "Thinking…"


def render_steps(steps: Steps) -> Markup | None:
    """Return the steps, folded under one line that sums them up; None where there are none."""
    if not steps:
        return None
    tools = dict.fromkeys(call.tool for step in steps for call in step.calls)
    count = f"{len(steps)} step{'s' if len(steps) != 1 else ''}"
    summary = ": ".join(filter(None, [count, ", ".join(_DONE.get(tool, f"used {tool}") for tool in tools)]))
    listed = element("ol", *(element("li", _step(step), value=step.number) for step in steps))
    return element("details", element("summary", summary), listed, class_="agent-steps")


def render_queries(record: Mapping[str, Any]) -> Markup | None:
    """Return what else was asked to answer a question, folded, from its provenance record; None where nothing was."""
    queries = [each["text"] for each in record.get("understanding", {}).get("queries", ()) if not each.get("supposed")]
    if not queries:
        return None
    count = f"Also searched for {len(queries)} more question{'s' if len(queries) != 1 else ''}"
    listed = element("ol", *(element("li", each, dir="auto") for each in queries))
    return element("details", element("summary", count), listed, class_="agent-steps")


def _step(step: StepView) -> Markup:
    thought = element("p", step.thought, class_="thought", dir="auto") if step.thought else None
    return join([thought, *(_call(call) for call in step.calls)])


def _call(call: CallView) -> Markup:
    arguments = [element("span", _argument(name, value), dir="auto") for name, value in call.arguments.items()]
    head = element("p", element("code", call.tool), *arguments, class_="call")
    return element("div", head, _seen(call), class_="failed" if call.failed else None)


def _argument(name: str, value: object) -> str:
    written = f"“{value}”" if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    cut = written if len(written) <= _LONGEST_VALUE else f"{written[:_LONGEST_VALUE]}…"
    return cut if isinstance(value, str) else f"{name} {cut}"


def _seen(call: CallView) -> Markup | None:
    if call.seen is None:
        return None
    line = " ".join(call.seen.split())
    if len(line) <= _LONGEST_LINE:
        return element("p", line, class_="seen", dir="auto")
    summary = element("summary", f"{line[:_LONGEST_LINE].rstrip()}…", dir="auto")
    return element("details", summary, element("pre", call.seen, dir="auto"), class_="seen")

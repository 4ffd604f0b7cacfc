"""What made an answer, as rows for people: the models, the prompt, the evidence, the time it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from keepstone.ui.web.markup import Markup, element

# Passages, claims and steps are shown by the answer itself.
_SHOWN_ELSEWHERE: Final = frozenset({"passages", "claims", "agent.steps", "understanding.queries"})
_LABELS: Final = {
    "versions.model": "Language model",
    "versions.model_version": "Model version",
    "versions.base_model": "On the base model",
    "versions.encoder": "Encoder",
    "versions.prompt": "Prompt version",
    "versions.style": "Style of answering",
    "index.sequence": "State of the index",
    "index.encoders": "Encoder of each collection",
    "index.query_language": "Language of the question",
    "evidence.strength": "Evidence",
    "evidence.threshold": "Evidence needed",
    "tokens.prompt": "Tokens read",
    "tokens.completion": "Tokens written",
    "finish_reason": "Why the model ended",
    "understanding.intent": "Kind of question",
    "understanding.outcomes": "Ways to understand it",
    "understanding.tokens": "Tokens of each",
    "understanding.timings_ms": "Milliseconds of each",
    "understanding.prompts": "Their prompt version",
    "agent.run_id": "The agent's run",
    "agent.prompt": "The agent's prompt version",
    "agent.ended": "Why the agent went on to the answer",
    "agent.tokens": "Tokens of the agent's steps",
    "agent.seconds": "Seconds of the agent's steps",
    "agent.notes": "Worked out by the agent",
    "timings_ms.search": "Time until passages were found",
    "timings_ms.first_token": "Time until the first word",
    "timings_ms.total": "Time in all",
    "timings_ms.stages": "Stages of the search",
}


def render_provenance(record: Mapping[str, Any]) -> Markup:
    """Return the record of an answer, folded."""
    rows = [element("div", element("dt", label), element("dd", value)) for label, value in provenance_rows(record)]
    return element("details", element("summary", "How was this made?"), element("dl", *rows), class_="provenance")


def provenance_rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return labels and values in the order of the labels; what has no label comes last, under its own name."""
    found = {key: value for key, value in _flat(record) if value}
    known = [(label, found.pop(key)) for key, label in _LABELS.items() if key in found]
    return known + [(key.replace("_", " ").replace(".", ", ").capitalize(), value) for key, value in found.items()]


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in record.items():
        key = f"{prefix}{name}"
        if key in _SHOWN_ELSEWHERE:
            continue
        unit = " ms" if key.startswith("timings_ms") else ""
        if isinstance(value, Mapping) and key not in _LABELS:
            yield from _flat(value, f"{key}.")
        elif isinstance(value, Mapping):
            yield key, ", ".join(f"{inner} {_plain(each)}{unit}" for inner, each in value.items())
        elif isinstance(value, list | tuple):
            yield key, ", ".join(map(_plain, value))
        elif value is not None:
            yield key, f"{_plain(value)}{unit}"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)

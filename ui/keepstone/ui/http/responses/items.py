"""The items that a response is made of, from the steps of a run and its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keepstone.agents.react.records import AgentRunDetails
from keepstone.agents.react.telling import observed_event, waits
from keepstone.agents.react.types import RUNNING

Item = dict[str, Any]
Results = Callable[[Sequence[tuple[int, float]]], list[dict[str, Any]]]
"""Returns passages, given by the ids of their chunks with their scores, as results of a file search."""


def call_id(run_id: str, step: int, call: int) -> str:
    """Return by what a call and its output name each other. Steps count from 1, a step's calls from 0."""
    return f"call_{_own(run_id)}_{step}_{call}"


def message_id(run_id: str) -> str:
    """Return the id of a run's answer."""
    return f"msg_{_own(run_id)}"


def reasoning(run_id: str, step: int, text: str) -> Item:
    """Return a thought."""
    summary = [{"type": "summary_text", "text": text}]
    return {"type": "reasoning", "id": f"rs_{_own(run_id)}_{step}", "summary": summary, "status": "completed"}


def function_call(run_id: str, step: int, call: int, tool: str, arguments: Mapping[str, Any]) -> Item:
    """Return a call of a tool of ours, whose output follows, or of a function that the caller is to run."""
    return {
        "type": "function_call",
        "id": f"fc_{_own(run_id)}_{step}_{call}",
        "call_id": call_id(run_id, step, call),
        "name": tool,
        "arguments": json.dumps(arguments, ensure_ascii=False),
        "status": "completed",
    }


def function_output(run_id: str, step: int, call: int, text: str) -> Item:
    """Return what a tool of ours answered."""
    return {
        "type": "function_call_output",
        "id": f"fco_{_own(run_id)}_{step}_{call}",
        "call_id": call_id(run_id, step, call),
        "output": text,
        "status": "completed",
    }


def search_call(
    run_id: str, step: int, call: int, arguments: Mapping[str, Any], results: list[dict[str, Any]] | None
) -> Item:
    """Return a search; without results it is under way."""
    return {
        "type": "file_search_call",
        "id": f"fs_{_own(run_id)}_{step}_{call}",
        "queries": [str(arguments.get("query", ""))],
        "results": results,
        "status": "in_progress" if results is None else "completed",
    }


def message(run_id: str, content: Sequence[Mapping[str, Any]], status: str) -> Item:
    """Return the answer."""
    return {
        "type": "message",
        "id": message_id(run_id),
        "role": "assistant",
        "content": list(content),
        "status": status,
    }


def output_text(text: str, annotations: Sequence[Mapping[str, Any]]) -> Item:
    """Return the text of an answer, the one part of its content."""
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def annotations_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the citations of an answer, from its provenance."""
    by_number = {passage["number"]: passage for passage in record.get("passages", ())}
    return [
        citation(claim, by_number[claim["citation"]])
        for claim in record.get("claims", ())
        if claim["citation"] in by_number
    ]


def citation(claim: Mapping[str, Any], passage: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a claim's citation stands and what it cites: OpenAI's fields, and in `keepstone` the exact place.

    Args:
        claim: as the provenance record has it.
        passage: the same.
    """
    quoted = claim["quote_start"] is not None and claim["quote_end"] is not None
    start, end = (claim["quote_start"], claim["quote_end"]) if quoted else (passage["start"], passage["end"])
    return {
        "type": "file_citation",
        "index": claim["end"],
        "file_id": passage["document_id"],
        "filename": passage["document"],
        "keepstone": {
            "number": passage["number"],
            "page": passage["page"],
            "start": start,
            "end": end,
            "sha256": passage["document_sha256"],
            "support": round(claim["support"], 4),
            "url": f"/v1/documents/{passage['document_id']}/passage?start={start}&end={end}",
        },
    }


def output_of(run: AgentRunDetails, results: Results) -> list[Item]:
    """Return all items of a run, as far as it is."""
    items = [*_step_items(run, results)]
    if run.answer is not None:
        status = "in_progress" if run.run.state == RUNNING else "incomplete" if run.cut else "completed"
        if run.run.state in ("cancelled", "failed"):
            status = "incomplete"
        items.append(message(run.run.id, [output_text(run.answer, annotations_of(run.record))], status))
    return items


def _step_items(run: AgentRunDetails, results: Results) -> Iterator[Item]:
    run_id = run.run.id
    for number, step in enumerate(run.steps[run.carried :], run.carried + 1):
        if step["thought"]:
            yield reasoning(run_id, number, step["thought"])
        seen = [*step["observations"], *[None] * (len(step["calls"]) - len(step["observations"]))]
        made = list(zip(range(len(seen)), step["calls"], seen, strict=False))
        for at, call, observed in made:
            if call["tool"] == "search":
                found = observed_event(number, at, "search", observed).found if observed else None
                yield search_call(run_id, number, at, call["arguments"], None if found is None else results(found))
            else:
                yield function_call(run_id, number, at, call["tool"], call["arguments"])
        for at, call, observed in made:
            if observed and call["tool"] != "search" and not waits(observed):
                yield function_output(run_id, number, at, observed["text"])


def _own(run_id: str) -> str:
    return run_id.removeprefix("run_")

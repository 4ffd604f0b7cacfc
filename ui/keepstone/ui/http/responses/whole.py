"""A response as one object, and where it is kept: it is a run of the agent, seen in OpenAI's format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from keepstone.agents.react.records import AgentRunDetails
from keepstone.agents.react.types import RUNNING
from keepstone.platform.access import Principal, readable_scope
from keepstone.platform.errors import NotFound
from keepstone.ui.http.responses.items import output_of
from keepstone.ui.http.responses.task import ABOUT
from keepstone.ui.runtime import Runtime

_STATUS: Final = {RUNNING: "in_progress", "finished": "completed", "cancelled": "cancelled", "failed": "failed"}


def id_of(run_id: str) -> str:
    """Return the response that a run is."""
    return f"resp_{run_id.removeprefix('run_')}"


def run_of(runtime: Runtime, principal: Principal, response_id: str) -> AgentRunDetails:
    """Return the run that a response is.

    Raises:
        NotFound: the principal has no such response.
    """
    missing = NotFound(f"No response {response_id[:80]!r}", fix="It may have been deleted, or not been stored")
    if not response_id.startswith("resp_"):
        raise missing
    try:
        run = runtime.agent.get(principal, f"run_{response_id.removeprefix('resp_')}")
    except NotFound:
        raise missing from None
    if ABOUT not in run.brief.about:
        raise missing
    return run


def response_of(runtime: Runtime, principal: Principal, run: AgentRunDetails) -> dict[str, Any]:
    """Return a response as it is now."""

    def results(found: Sequence[tuple[int, float]]) -> list[dict[str, Any]]:
        return results_of(runtime, principal, found)

    output = output_of(run, results)
    done = run.run.state != RUNNING
    return opened(run.run.id, run.run.created_at.timestamp(), run.brief.about[ABOUT]) | {
        "status": "incomplete" if done and run.cut else _STATUS[run.run.state],
        "completed_at": int(run.run.updated_at.timestamp()) if done else None,
        "error": {"code": "server_error", "message": run.run.error or ""} if run.run.state == "failed" else None,
        "incomplete_details": {"reason": "max_output_tokens"} if done and run.cut else None,
        "output": output,
        "usage": _usage(run) if done else None,
        "keepstone": {"run_id": run.run.id, "answer_id": run.answer_id, "outcome": run.run.outcome},
    }


def opened(run_id: str, created_at: float, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response that has just begun.

    Args:
        run_id: of its run.
        created_at: seconds since 1970.
        about: what it repeats of its request.
    """
    return {
        "id": id_of(run_id),
        "object": "response",
        "created_at": int(created_at),
        "completed_at": None,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        **about,
        "output": [],
        "parallel_tool_calls": True,
        "reasoning": None,
        "text": {"format": {"type": "text"}},
        "top_p": None,
        "truncation": "auto",
        "usage": None,
        "keepstone": {"run_id": run_id, "answer_id": None, "outcome": None},
    }


def results_of(runtime: Runtime, principal: Principal, found: Sequence[tuple[int, float]]) -> list[dict[str, Any]]:
    """Return passages as results of a file search: those that are still there and that the principal may read."""
    if not found:
        return []
    with runtime.database.reading() as session:
        scope = readable_scope(session, principal)
    hits = runtime.searcher.passages(scope, [chunk for chunk, _ in found])
    return [
        {
            "file_id": hit.document_id,
            "filename": hit.document_name,
            "score": round(score, 6),
            "text": hit.text,
            "attributes": {"start": hit.start, "end": hit.end, **({} if hit.page is None else {"page": hit.page})},
        }
        for hit, score in ((hits[chunk], score) for chunk, score in found if chunk in hits)
    ]


def _usage(run: AgentRunDetails) -> dict[str, Any]:
    answer = run.record.get("tokens") or {}
    written = run.written + int(answer.get("completion") or 0)
    read = run.tokens - run.written + int(answer.get("prompt") or 0)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": run.written},
        "total_tokens": read + written,
    }

"""From what the tools found to what the answer is made of."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from anyio.to_thread import run_sync

from keepstone.agents.react.prompts import AGENT_PROMPT_VERSION
from keepstone.agents.react.types import RunState
from keepstone.agents.tools.base import ToolContext
from keepstone.agents.types import Findings
from keepstone.platform.errors import NotFound
from keepstone.retrieval.hits import without_repeats
from keepstone.retrieval.several import reciprocal_ranks
from keepstone.retrieval.types import Hit

_RETURNED_CHARS: Final = 2000
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SIGN = re.compile(r"\S\s*[-+*/^×÷%−]|[a-z]")


async def gather(
    state: RunState, context: ToolContext, *, run_id: str, answer_id: str, functions: Collection[str] = ()
) -> Findings:
    """Return the passages that the tools found and that the principal may still read, best first.

    The lists of the calls are merged by reciprocal rank fusion (Cormack et al., SIGIR 2009), since the scores of
    different searches cannot be compared. What the caller's functions returned is noted.
    """
    hits = await run_sync(_hits, state, context)
    worked_out = (note for note in dict.fromkeys(state.notes) if _grounded(note, state.question, hits))
    notes = (*worked_out, *_returned(state, functions))
    record = _record(state, run_id)
    return Findings(hits=hits, notes=notes, answer_id=answer_id, standalone=state.standalone, record=record)


def found_in(steps: Sequence[Mapping[str, Any]]) -> Iterator[list[list[Any]]]:
    """Yield the passages of each call that found some, best first, as `RunState.steps` has them."""
    for step in steps:
        for seen in step["observations"]:
            if seen.get("found"):
                yield seen["found"]


def _returned(state: RunState, functions: Collection[str]) -> Iterator[str]:
    """Yield what the caller's functions returned, each with its call."""
    for step in state.steps:
        for call, seen in zip(step["calls"], step["observations"], strict=False):
            if call["tool"] in functions:
                arguments = ", ".join(f"{name}={value!r}" for name, value in call["arguments"].items())
                yield f"{call['tool']}({arguments}) returned: {seen['text'][:_RETURNED_CHARS]}"


def _hits(state: RunState, context: ToolContext) -> tuple[Hit, ...]:
    rankings = list(found_in(state.steps))
    scores = reciprocal_ranks([row[0] for row in ranking] for ranking in rankings)
    best = {row[0]: row for ranking in reversed(rankings) for row in ranking}
    if not scores:
        return ()
    try:
        known = context.searcher.passages(context.scope(), list(scores))
    except NotFound:  # the collection was deleted, or is not theirs any more
        return ()
    # Of equals, what was found first stays first.
    order = sorted((chunk for chunk in scores if chunk in known), key=lambda chunk: -scores[chunk])
    hits = (
        replace(known[chunk], score=scores[chunk], dense_score=best[chunk][2], lexical_score=best[chunk][3])
        for chunk in order
    )
    return tuple(without_repeats(hits))


def _grounded(note: str, question: str, hits: tuple[Hit, ...]) -> bool:
    """Tell whether a calculation is about the matter: all its numbers stand in the question or in the passages."""
    expression = note.rpartition(" = ")[0]
    numbers = set(_numbers(expression))
    known = set(_numbers(question)).union(*(_numbers(hit.text) for hit in hits))
    return bool(numbers) and numbers <= known and bool(_SIGN.search(expression))


def _numbers(text: str) -> list[str]:
    return _NUMBER.findall(_THOUSANDS.sub("", text))


def _record(state: RunState, run_id: str) -> dict[str, Any]:
    """Return what the provenance record keeps of the run."""
    return {
        "run_id": run_id,
        "prompt": AGENT_PROMPT_VERSION,
        "ended": state.ended,
        "steps": [{"thought": step["thought"], "calls": step["calls"]} for step in state.steps],
        "tokens": state.tokens,
        "seconds": round(state.seconds, 3),
    }

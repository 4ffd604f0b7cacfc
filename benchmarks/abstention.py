"""Fits the threshold of "not in the documents" on the train half of the example questions.

    .venv/bin/python -m benchmarks.abstention [--json]

Besides the unanswerable questions, each answerable one counts once more as unanswerable, with the passages that hold
its answer left out of what was found. Needs the encoder only. The result belongs into
`keepstone.agents.evidence.ABSTAIN_BELOW`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import httpx

from benchmarks.app import running_app
from benchmarks.harness import Context, Figure, main
from benchmarks.smoke import COLLECTION, EXAMPLES
from keepstone.agents.evidence import evidence_strength
from keepstone.retrieval.types import Hit
from keepstone.training.abstention import fit_threshold
from keepstone.training.questions import Evidence, Question, holds_passage, load_questions

_DEPTH = 50


def measure(context: Context) -> Iterable[Figure]:
    """Ingest the examples, search for every question of the train half, and fit."""
    questions = [each for each in load_questions(EXAMPLES / "questions.jsonl") if each.split == "train"]
    answerable: list[float] = []
    unanswerable: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="keepstone-abstention-", ignore_cleanup_errors=True) as scratch,
        running_app(Path(scratch), engine=False) as app,
        app.client() as http,
    ):
        app.run("ingest", str(EXAMPLES / "documents"), "--collection", COLLECTION)
        for question in questions:
            hits = _search(http, question)
            (answerable if question.answerable else unanswerable).append(evidence_strength(hits))
            if question.answerable:
                unanswerable.append(evidence_strength(_without_answer(question, hits)))
    fitted = fit_threshold(answerable, unanswerable)
    context.details |= {"answerable": sorted(answerable), "unanswerable": sorted(unanswerable)}
    yield Figure("threshold", [fitted.value], "standard deviations")
    yield Figure("answerable_declined", [fitted.answerable_declined], f"of {len(answerable)}")
    yield Figure("unanswerable_declined", [fitted.unanswerable_declined], f"of {len(unanswerable)}")


def _search(http: httpx.Client, question: Question) -> list[Hit]:
    asked = {"query": question.question, "collections": [COLLECTION], "k": _DEPTH}
    found = http.post("/v1/search", json=asked).raise_for_status().json()["hits"]
    fields = Hit.__dataclass_fields__
    return [Hit(**{name: value for name, value in hit.items() if name in fields}) for hit in found]


def _without_answer(question: Question, hits: list[Hit]) -> list[Hit]:
    return [hit for hit in hits if not holds_passage(question, Evidence(hit.document_name, hit.text))]


if __name__ == "__main__":
    raise SystemExit(main("abstention", measure, runs=1))

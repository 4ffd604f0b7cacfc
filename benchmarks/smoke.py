"""The main job, headless: the real engine, the example documents, five questions through the API.

    .venv/bin/python -m benchmarks.smoke [--questions N] [--all] [--home DIR]

Prints JSON: the answers with their citations, whether the expected passage was found and cited, and timings. Exits
with 1 when the main job does not work: a question fails, or most expected passages are not cited.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from openai import OpenAI

from benchmarks.app import App, running_app
from keepstone.platform.errors import KeepstoneError
from keepstone.training.questions import Evidence, Judgement, Question, judge, load_questions, totals

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
COLLECTION = "examples"
_TOP = 5


def main() -> int:
    """Run the smoke test from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smoke", description=__doc__)
    parser.add_argument("--questions", type=int, default=5, help="how many answerable questions (default: 5)")
    parser.add_argument("--all", action="store_true", help="ask all 30 questions, the unanswerable ones too")
    parser.add_argument("--home", type=Path, help="folder to work in (default: a temporary one)")
    arguments = parser.parse_args()
    questions = load_questions(EXAMPLES / "questions.jsonl")
    if not arguments.all:
        questions = [each for each in questions if each.answerable][: arguments.questions]
    try:
        with tempfile.TemporaryDirectory(prefix="keepstone-smoke-", ignore_cleanup_errors=True) as scratch:
            report = run(arguments.home or Path(scratch), questions)
    except (KeepstoneError, httpx.HTTPError) as error:
        report = {"ok": False, "error": str(error)}
    sys.stdout.write(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return 0 if report["ok"] else 1


def run(home: Path, questions: Sequence[Question]) -> dict[str, Any]:
    """Do the whole job in `home` and return the report."""
    started = time.perf_counter()
    with running_app(home) as app:
        ready = time.perf_counter()
        app.run("ingest", str(EXAMPLES / "documents"), "--collection", COLLECTION)
        ingested = time.perf_counter()
        answers, judgements = ask_all(app, questions)
    counts = totals(judgements)
    works = counts["expected_passage_cited"] > counts["answerable"] / 2
    return {
        "ok": works and all("error" not in answer for answer in answers),
        "totals": counts,
        "timings_s": {
            "start_until_ready": round(ready - started, 2),
            "ingest": round(ingested - ready, 2),
            "answers": round(time.perf_counter() - ingested, 2),
        },
        "answers": answers,
    }


def ask_all(app: App, questions: Sequence[Question]) -> tuple[list[dict[str, Any]], list[Judgement]]:
    """Ask every question through the official client and judge the answers."""
    client = OpenAI(base_url=f"{app.url}/v1", api_key=app.key, max_retries=0)
    answers, judgements = [], []
    with app.client() as http:
        for question in questions:
            answer, judgement = _ask(client, http, question)
            answers.append(answer)
            judgements.append(judgement)
    return answers, judgements


def _ask(client: OpenAI, http: httpx.Client, question: Question) -> tuple[dict[str, Any], Judgement]:
    started = time.perf_counter()
    first: float | None = None
    text = ""
    evidence: dict[str, Any] = {}
    for chunk in client.chat.completions.create(
        model=COLLECTION, messages=[{"role": "user", "content": question.question}], stream=True
    ):
        if chunk.choices and chunk.choices[0].delta.content:
            first = first or time.perf_counter()
            text += chunk.choices[0].delta.content
        evidence = (chunk.model_extra or {}).get("keepstone") or evidence
    finished = time.perf_counter()
    sources = evidence.get("sources", [])
    shown = {source["number"]: _evidence(http, source) for source in sources}
    judgement = judge(
        question,
        found=[shown[source["number"]] for source in sources[:_TOP]],
        cited=[shown[source["number"]] for source in sources if source["cited"]],
        declined=evidence.get("outcome") == "declined",
    )
    answer = {
        "id": question.id,
        "question": question.question,
        "answer": text,
        "outcome": evidence.get("outcome"),
        "citations": [_citation(source) for source in sources if source["cited"]],
        "expected": {"document": question.document, "passage": question.passage},
        **{name: value for name, value in asdict(judgement).items() if name in ("found", "cited", "declined")},
        "seconds": {"first_token": round((first or finished) - started, 3), "total": round(finished - started, 3)},
    }
    return answer, judgement


def _evidence(http: httpx.Client, source: dict[str, Any]) -> Evidence:
    passage = http.get(source["url"]).raise_for_status().json()
    return Evidence(document=source["document"], text=passage["text"])


def _citation(source: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": source["number"],
        "document": source["document"],
        "page": source["page"],
        "quote": source["quote"],
    }


if __name__ == "__main__":
    raise SystemExit(main())

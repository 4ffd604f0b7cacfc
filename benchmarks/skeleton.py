"""The walking skeleton: answers to the example questions, starting, ingestion, search, and the cost of our gateway.

    .venv/bin/python -m benchmarks.skeleton [--json] [--check] [--only WORD] [--fresh]

Quality is measured on all 30 example questions, with the starter models. Ingestion and search read SciFact from
`--data`. `--fresh` also times the way from a fresh clone to the first answer, which installs everything anew.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.app import App, free_ports, running_app
from benchmarks.harness import ROOT, Context, Figure, main
from benchmarks.parts import retrieval, serving
from benchmarks.smoke import COLLECTION, EXAMPLES, ask_all
from keepstone.training.questions import load_questions, totals

_QUALITY = {
    "expected_in_top5": "expected_passage_found",
    "expected_cited": "expected_passage_cited",
    "unanswerable_declined": "unanswerable_declined",
    "answerable_declined": "answerable_declined",
}
_STARTING = ("restart_ratio", "restart_s", "engine_start_s")
_GATEWAY = ("http_throughput_ratio", "first_token_overhead_ms")
_QUESTION = "Is it OK to wipe the balance with acetone?"


def measure(context: Context) -> Iterable[Figure]:
    """Measure what was asked for."""
    if any(map(context.wants, (*_QUALITY, *_STARTING, *_GATEWAY))):
        yield from _with_app(context)
    if context.wants("ingestion_ratio"):
        context.say("ingestion against the bare encoder")
        yield from retrieval.ingestion(context)
    if any(map(context.wants, ("search_ms", "hnsw_recall_at_10"))):
        context.say("search at 50,000 passages")
        yield from retrieval.search(context)
    if context.options.fresh:
        context.say("from a fresh clone to the first answer")
        yield from _fresh_clone(context)


def _with_app(context: Context) -> Iterable[Figure]:
    with tempfile.TemporaryDirectory(prefix="keepstone-skeleton-", ignore_cleanup_errors=True) as scratch:
        home = Path(scratch)
        context.say("starting the app for the first time")
        with running_app(home) as app:
            app.run("ingest", str(EXAMPLES / "documents"), "--collection", COLLECTION)
            if any(map(context.wants, _QUALITY)):
                context.say("asking the example questions")
                yield from _quality(context, app)
        python = app.environment["KEEPSTONE_ENGINE__PYTHON"]
        if any(map(context.wants, _STARTING)):
            context.say("starting again, against the bare engine")
            yield from serving.restarts(context, app, python, _QUESTION, COLLECTION)
        if any(map(context.wants, _GATEWAY)):
            context.say("our gateway against the bare engine")
            yield from serving.gateway(context, home, python)


def _quality(context: Context, app: App) -> Iterable[Figure]:
    answers, judgements = ask_all(app, load_questions(EXAMPLES / "questions.jsonl"))
    counts = totals(judgements)
    context.details["answers"] = answers
    for figure, count in _QUALITY.items():
        of = counts["unanswerable" if figure == "unanswerable_declined" else "answerable"]
        yield Figure(figure, [counts[count]], f"of {of}")
    first = [answer["seconds"]["first_token"] for answer in answers if not answer["declined"]]
    yield Figure("answer_first_token_s", first, "s")


def _fresh_clone(context: Context) -> Iterable[Figure]:
    """Time `make up` in a fresh clone and home, stage by stage, until the first answer."""
    app_port, engine_port = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="keepstone-fresh-", ignore_cleanup_errors=True) as scratch:
        clone, home = Path(scratch) / "clone", Path(scratch) / "home"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KEEPSTONE_")}
        environment |= {
            "KEEPSTONE_HOME": str(home),
            "KEEPSTONE_APP__PORT": str(app_port),
            "KEEPSTONE_ENGINE__PORT": str(engine_port),
        }
        keepstone = clone / ".venv" / "bin" / "keepstone"
        stages: dict[str, list[str | Path]] = {
            "clone": ["git", "clone", "-q", ROOT, clone],
            "install": ["make", "-C", clone, "install"],
            "engine_install": [keepstone, "engine", "install"],
            "models_pull": [keepstone, "models", "pull", "starter"],
            "up": ["make", "-C", clone, "up"],
            "first_answer": [keepstone, "ask", _QUESTION, "--collection", COLLECTION],
        }
        seconds: dict[str, float] = {}
        try:
            for stage, command in stages.items():
                started = time.perf_counter()
                subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
                seconds[stage] = round(time.perf_counter() - started, 1)
        finally:
            subprocess.run([keepstone, "down"], env=environment, check=False, stdout=subprocess.DEVNULL)
    context.details["fresh_clone_stages_s"] = seconds
    yield Figure("fresh_clone_to_answer_s", [sum(seconds.values())], "s")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fresh", action="store_true", help="also time the way from a fresh clone; takes long")


if __name__ == "__main__":
    raise SystemExit(main("skeleton", measure, options=_options))

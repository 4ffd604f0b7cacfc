"""Fits when the pipeline says "not in the documents".

    .venv/bin/python -m benchmarks.abstention [--json] [--fit]

The threshold is fitted on the train half of the example questions and belongs into
`keepstone.agents.evidence.ABSTAIN_BELOW`. A question whose answer is not among the passages that were packed counts
as one without an answer, which is what it is for whoever has to answer from these passages.

`--fit` fits the weights of the signs as well, on public collections from `--data`, and says how well they tell answers
from none there (AUC). Needs the encoder only.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.app import prepared_app
from benchmarks.harness import Context, Figure, main
from benchmarks.parts import answerability as parts
from benchmarks.smoke import COLLECTION, EXAMPLES
from keepstone.agents.evidence import evidence_strength
from keepstone.platform import logs
from keepstone.platform.model_settings import EngineSettings
from keepstone.platform.settings import LoggingSettings, load_settings
from keepstone.training.abstention import fit_threshold
from keepstone.training.questions import load_questions
from keepstone.ui.runtime import Runtime

_SQUAD = {
    "xquad_en": "xquad/xquad.en.json",
    "xquad_zh": "xquad/xquad.zh.json",
    "cmrc2018": "cmrc2018/squad-style-data/cmrc2018_dev.json",
}


def measure(context: Context) -> Iterable[Figure]:
    """Ingest the examples, search for every question of the train half, and fit."""
    with _runtime() as runtime:
        questions = [each for each in load_questions(EXAMPLES / "questions.jsonl") if each.split == "train"]
        files = {path.name: path.read_bytes() for path in sorted((EXAMPLES / "documents").iterdir())}
        found = parts.cases(runtime, COLLECTION, files, parts.examples(questions))
        version = runtime.encoder.version
        answerable = [evidence_strength(case.signs, version) for case in found if case.found]
        unanswerable = [evidence_strength(case.signs, version) for case in found if not case.found]
        fitted = fit_threshold(answerable, unanswerable)
        context.details |= {"answerable": sorted(answerable), "unanswerable": sorted(unanswerable)}
        yield Figure("threshold", [fitted.value], "probability")
        yield Figure("answerable_declined", [fitted.answerable_declined], f"of {len(answerable)}")
        yield Figure("unanswerable_declined", [fitted.unanswerable_declined], f"of {len(unanswerable)}")
        if context.options.fit:
            yield from _fit(context, runtime)


def _fit(context: Context, runtime: Runtime) -> Iterable[Figure]:
    """Fit the weights where meaning has a say, and where it has none."""
    found = {name: parts.cases(runtime, name, *parts.squad(context.data / path)) for name, path in _SQUAD.items()}
    for name, files, asked in parts.chunking_evaluation(context.data / "chunking_evaluation"):
        found[name] = parts.cases(runtime, name, files, asked)
    for name, of in found.items():
        strengths = [evidence_strength(case.signs, runtime.encoder.version) for case in of]
        yield Figure(f"auc_{name}", [float(roc_auc_score([case.answerable for case in of], strengths))], "")
    known = [case for of in found.values() for case in of if case.signs.lead is not None]
    by_meaning = [case for case in known if case.by_meaning]
    yield from _logistic("by_likeness", by_meaning, ("lead", "likeness"))
    yield from _logistic("by_meaning", by_meaning, ("lead",))
    yield from _logistic("by_words", [case for case in known if not case.by_meaning], ("lead",))


def _logistic(weights: str, cases: Sequence[parts.Case], names: Sequence[str]) -> Iterable[Figure]:
    signs = np.array([[getattr(case.signs, name) for name in names] for case in cases])
    fitted = LogisticRegression(C=1e6, max_iter=1000).fit(signs, [case.answerable for case in cases])
    for name, weight in zip((*names, "constant"), (*fitted.coef_[0], *fitted.intercept_), strict=True):
        yield Figure(f"{weights}_{name}", [float(weight)], "weight")


@contextmanager
def _runtime() -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="keepstone-abstention-", ignore_cleanup_errors=True) as scratch:
        prepared_app(Path(scratch), engine=False).run("models", "pull", "starter")
        logs.configure(LoggingSettings(level="error"))
        with Runtime.open(load_settings(home=Path(scratch), engine=EngineSettings(mode="off"))) as runtime:
            yield runtime


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fit", action="store_true", help="also fit the weights of the signs; takes minutes")


if __name__ == "__main__":
    raise SystemExit(main("abstention", measure, runs=1, options=_options))

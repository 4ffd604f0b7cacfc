"""The loop: models made from a collection, judged, promoted or refused; and the agent's steps.

    .venv/bin/python -m benchmarks.loop [--json] [--check] [--only WORD] [--model FOLDER] [--reports DIR]

Each part runs by itself with `--only`: `scifact` (or `other_collections`) tunes the encoder on SciFact, `improve` runs
`keepstone improve` on the examples, `aa` and `damaged` try the gate with models that are no better, `w8a8` quantizes
and compares, `agent` counts the agent's steps. `--model` names the folder of a second language model for the agent's
steps; `--reports` is where the report of `improve` is left.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.app import prepared_app
from benchmarks.harness import Context, Figure, main
from benchmarks.parts import agent, honesty, improving, tuning

_TUNING = (
    "scifact_dense_ndcg10",
    "scifact_hybrid_ndcg10",
    "scifact_training_minutes",
    "other_collections_worst_loss_percent",
)
_ENGINE = ("damaged_refused", "w8a8_speed_ratio", "w8a8_score_loss_points")


def measure(context: Context) -> Iterable[Figure]:
    """Measure what was asked for."""
    if any(map(context.wants, _TUNING)):
        context.say("tuning on SciFact")
        yield from tuning.embedding(context)
    if context.wants("improve_minutes"):
        context.say("improve on the examples")
        yield from improving.examples(context)
    if context.wants("aa_promotions"):
        context.say("candidates that are no better")
        yield from honesty.a_against_a(context)
    if any(map(context.wants, _ENGINE)):
        context.say("damaged and quantized models")
        yield from honesty.damaged_and_quantized(context)
    if context.wants("agent_step_overhead_ms"):
        yield from agent.overhead(context)
    if context.wants("agent_valid_steps_percent"):
        yield from _agent(context)


def _agent(context: Context) -> Iterable[Figure]:
    with tempfile.TemporaryDirectory(prefix="keepstone-loop-", ignore_cleanup_errors=True) as scratch:
        home = Path(scratch)
        app = prepared_app(home)
        app.run("models", "pull", "starter")
        models = [agent.STARTER]
        if context.options.model is not None:
            app.run("models", "pull", str(context.options.model), "--name", "second")
            models.append("second")
        yield from agent.valid_steps(context, home, app.environment["KEEPSTONE_ENGINE__PYTHON"], models)


def _options(parser: argparse.ArgumentParser) -> None:
    tuning.add_options(parser)
    parser.add_argument("--model", type=Path, help="folder of a second language model for the agent's steps")
    parser.add_argument("--reports", type=Path, help="folder in which to leave the report of `improve`")


if __name__ == "__main__":
    raise SystemExit(main("loop", measure, options=_options))

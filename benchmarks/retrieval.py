"""Retrieval: how well search ranks, and how fast and large its vector index is.

    .venv/bin/python -m benchmarks.retrieval [--json] [--check] [--only WORD] [--dataset NAME ...] [--home DIR]

`--dataset` takes one of the public collections by its name in the targets (`scifact`, `cranfield`, `xquad_zh`, ...),
may be given more than once, and measures ranking alone. What was ingested into `--home` in a run before is searched
again. `--only 100k` and `--only 1m` measure the vector index alone, at 100,000 and at a million vectors; the million
takes half an hour and 6 GiB.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from benchmarks.harness import Context, Figure, main
from benchmarks.parts import growth, ranking, scale
from benchmarks.parts.collections import COLLECTIONS
from benchmarks.parts.retrieval import ingestion

_INGESTED = 1500
_SIZES = {"100k": 100_000, "1m": 1_000_000}


def measure(context: Context) -> Iterable[Figure]:
    """Measure what was asked for."""
    if any(context.wants(f"ndcg10_{name}") for name in COLLECTIONS):
        yield from ranking.quality(context)
    if not context.options.dataset:
        if context.wants("ingestion_ratio_encoder"):
            yield from ingestion(context, _INGESTED, name="ingestion_ratio_encoder")
        if context.wants("added_chunk_cost_growth_percent"):
            yield from growth.cost_growth(context)
        for label, count in _SIZES.items():
            if any(context.wants(f"{figure}_{label}") for figure in scale.FIGURES):
                yield from scale.at_scale(context, count, label)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", action="append", choices=list(COLLECTIONS), help="a collection; all by default")
    parser.add_argument("--home", type=Path, help="folder to ingest into and keep (default: a temporary one)")


if __name__ == "__main__":
    raise SystemExit(main("retrieval", measure, options=_options))

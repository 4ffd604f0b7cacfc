"""Retrieval: how well search ranks.

    .venv/bin/python -m benchmarks.retrieval [--json] [--check] [--dataset NAME ...] [--home DIR]

`--dataset` takes one of the public collections by its name in the targets (`scifact`, `cranfield`, `xquad_zh`, ...),
and may be given more than once. What was ingested into `--home` in a run before is searched again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.harness import main
from benchmarks.parts import ranking
from benchmarks.parts.collections import COLLECTIONS


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", action="append", choices=list(COLLECTIONS), help="a collection; all by default")
    parser.add_argument("--home", type=Path, help="folder to ingest into and keep (default: a temporary one)")


if __name__ == "__main__":
    raise SystemExit(main("retrieval", ranking.quality, options=_options))

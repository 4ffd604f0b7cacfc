"""The one harness of every benchmark: runs, figures with their spread, targets, and where it all was measured.

A benchmark is a module `benchmarks/NAME.py` that measures and leaves the rest to the harness::

    def measure(context: Context) -> Iterable[Figure]:
        yield Figure("search_ms", [search() for _ in range(context.runs)], "ms")

    if __name__ == "__main__":
        raise SystemExit(main("NAME", measure))

and is run as::

    .venv/bin/python -m benchmarks.NAME [--json] [--check] [--save] [--runs N] [--only WORD] [--data DIR]

A table for people goes to stderr, JSON (`--json`) to stdout. `--check` exits with 1 and names each figure that falls
short of its target in benchmarks/targets.toml, or that has a target and was not measured. `--save` writes the JSON to
benchmarks/results/NAME.json, with `--only` to NAME-WORD.json. Exit code 2 means that the benchmark could not run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.targets import Target, Verdict, judge, load_targets
from keepstone.platform import logs
from keepstone.platform.errors import InvalidInput, KeepstoneError, NotFound
from keepstone.platform.machine import probe
from keepstone.platform.settings import LoggingSettings

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
VERSIONED = ("keepstone", "torch", "transformers", "sentence-transformers", "hnswlib", "tantivy", "dbos", "sqlalchemy")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity.

    Args:
        name: its key in targets.toml, such as `first_token_overhead_ms`.
        values: one number per run.
        unit: as people write it, such as `ms`, `chunks/s` or `of 24`.
    """

    name: str
    values: Sequence[float]
    unit: str

    def __post_init__(self) -> None:
        if not self.values:
            raise InvalidInput(f"Figure {self.name!r} has no value", fix="Measure at least one run")

    @property
    def median(self) -> float:
        """The middle of the runs: what is compared with the target."""
        return statistics.median(self.values)

    @property
    def iqr(self) -> float:
        """Interquartile range of the runs, 0 for a single one."""
        if len(self.values) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return max(0.0, high - low)  # rounding may leave less


@dataclass(slots=True)
class Context:
    """What a benchmark is given."""

    name: str
    runs: int
    """How often to measure each figure."""
    only: str | None
    """Word that the figures wanted have in their name; None: all."""
    data: Path
    """Folder of the public collections that some benchmarks read."""
    options: argparse.Namespace
    """Everything from the command line, the benchmark's own options included."""
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever else belongs in the JSON: stages, texts, settings."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of what runs elsewhere, such as the engine; added to those of this environment."""
    console: Console = field(default_factory=lambda: Console(stderr=True))

    def wants(self, name: str) -> bool:
        """Tell whether the figure was asked for, so that a benchmark can leave out the work for the others."""
        return self.only is None or self.only in name

    def say(self, text: str) -> None:
        """Tell the person what is going on."""
        self.console.print(f"[dim]{self.name}:[/] {text}", highlight=False)

    def dataset(self, name: str) -> Path:
        """Return the folder or file `name` of the data.

        Raises:
            NotFound: it is not there.
        """
        path = self.data / name
        if not path.exists():
            raise NotFound(
                f"No {name!r} in {self.data}",
                fix="Name the folder that has it: --data or KEEPSTONE_BENCH_DATA (docs/benchmarks.md: where to get it)",
            )
        return path


@dataclass(frozen=True, slots=True)
class Report:
    """What one run of a benchmark found."""

    benchmark: str
    date: str
    commit: str | None
    machine: dict[str, Any]
    versions: dict[str, str]
    figures: tuple[Figure, ...]
    verdicts: tuple[Verdict, ...]
    details: dict[str, Any]

    @property
    def short(self) -> tuple[Verdict, ...]:
        """The targets that were missed."""
        return tuple(verdict for verdict in self.verdicts if not verdict.met)

    def as_json(self) -> dict[str, Any]:
        """Return the report as `--json` prints it."""
        targets = {verdict.figure: verdict for verdict in self.verdicts}
        return {
            "benchmark": self.benchmark,
            "date": self.date,
            "commit": self.commit,
            "machine": self.machine,
            "versions": self.versions,
            "figures": [_figure_json(figure, targets.get(figure.name)) for figure in self.figures],
            "short": [verdict.sentence for verdict in self.short],
            "details": self.details,
        }


def main(
    name: str,
    measure: Callable[[Context], Iterable[Figure]],
    *,
    options: Callable[[argparse.ArgumentParser], None] | None = None,
    runs: int = 3,
    argv: Sequence[str] | None = None,
    targets: dict[str, Target] | None = None,
) -> int:
    """Run a benchmark from the command line.

    Args:
        name: the benchmark's module name; the section of targets.toml.
        measure: yields the figures; called once.
        options: adds the benchmark's own arguments.
        runs: default of `--runs`.
        argv: arguments instead of the command line's.
        targets: targets by figure instead of those in targets.toml.

    Returns:
        The exit code: 0, 1 when `--check` finds a figure short of its target, 2 when the benchmark could not run.
    """
    arguments = _parse(name, options, runs, argv)
    # On stdout stands the JSON alone.
    logs.configure(LoggingSettings(level="warning"))
    context = Context(name, arguments.runs, arguments.only, arguments.data, arguments)
    try:
        figures = tuple(measure(context))
        wanted = load_targets(name) if targets is None else targets
        verdicts = judge({figure.name: figure.median for figure in figures}, wanted, context.wants)
    except KeepstoneError as error:
        context.console.print(f"[red]{name}:[/] {error}", highlight=False)
        return 2
    report = Report(
        benchmark=name,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        machine={"cpu": _cpu_name(), **dataclasses.asdict(probe(ROOT))},
        versions=_versions() | context.versions,
        figures=figures,
        verdicts=verdicts,
        details=context.details,
    )
    show(report, context.console)
    if arguments.json:
        sys.stdout.write(json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n")
    if arguments.save:
        save(report, RESULTS, part=context.only)
    return 1 if arguments.check and report.short else 0


def show(report: Report, console: Console) -> None:
    """Print the table for people, and each target that was missed."""
    verdicts = {verdict.figure: verdict for verdict in report.verdicts}
    table = Table("figure", title=f"{report.benchmark} ({report.commit or 'no commit'})", title_justify="left")
    for heading in ("median", "min", "max", "IQR"):
        table.add_column(heading, justify="right")
    for heading in ("unit", "target", ""):
        table.add_column(heading)
    for figure in report.figures:
        verdict = verdicts.get(figure.name)
        target, mark = (str(verdict.target), "ok" if verdict.met else "SHORT") if verdict else ("", "")
        numbers = (figure.median, min(figure.values), max(figure.values), figure.iqr)
        table.add_row(figure.name, *map(_short, numbers), figure.unit, target, mark)
    console.print(table)
    for missed in report.short:
        console.print(f"[red]short:[/] {missed.sentence}", highlight=False)


def save(report: Report, folder: Path, *, part: str | None = None) -> Path:
    """Write the report's JSON into `folder`, that of a part into a file of its own, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.benchmark}{f'-{part}' if part else ''}.json"
    temporary = path.with_suffix(".json.new")
    temporary.write_text(json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def commit(folder: Path = ROOT) -> str | None:
    """Return the commit checked out, with `+dirty` when tracked files were changed since; None outside git."""
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return f"{head}+dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _parse(
    name: str,
    options: Callable[[argparse.ArgumentParser], None] | None,
    runs: int,
    argv: Sequence[str] | None,
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on stdout")
    parser.add_argument("--check", action="store_true", help="exit with 1 and name each figure short of its target")
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{name}[-WORD].json")
    parser.add_argument("--runs", type=_positive, default=runs, help="how often to measure (default: %(default)s)")
    parser.add_argument("--only", metavar="WORD", help="measure only the figures with this word in their name")
    data = Path(os.environ.get("KEEPSTONE_BENCH_DATA") or ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=data, help="folder of the public collections")
    if options is not None:
        options(parser)
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs: 1 or more")
    return int(text)


def _figure_json(figure: Figure, verdict: Verdict | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": figure.name,
        "unit": figure.unit,
        "median": figure.median,
        "min": min(figure.values),
        "max": max(figure.values),
        "iqr": figure.iqr,
        "runs": list(figure.values),
    }
    if verdict is not None:
        shown |= {"target": str(verdict.target), "source": verdict.target.source, "met": verdict.met}
    return shown


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in VERSIONED:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"

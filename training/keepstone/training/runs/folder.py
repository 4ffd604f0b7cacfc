"""The folder of a run, `runs/JOB` in the home folder: what its process is told, and what it leaves behind.

spec.json     what to do; written before the process starts
metrics.jsonl the curve: a line a step, `{"step": 3, "of": 58, "loss": 1.2, "lr": 2e-05, "seconds": 7.1}`
log.txt       what the process printed
checkpoints/  what it goes on from after a kill
output/       the finished model
outcome.json  how it ended; written last
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from keepstone.platform.errors import storage_errors
from keepstone.training.recipes.base import Paths

LOG = "log.txt"
_SPEC, _METRICS, _OUTCOME = "spec.json", "metrics.jsonl", "outcome.json"


class Spec(BaseModel):
    """What a process is to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    config: dict[str, Any]
    base: Path
    dataset: Path
    work: Path

    @property
    def paths(self) -> Paths:
        """The folders, as recipes want them."""
        return Paths(base=self.base, dataset=self.dataset, work=self.work)


class Ending(BaseModel):
    """How a process ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metrics: dict[str, float] = {}
    error: str | None = None
    fix: str | None = None
    code: str | None = None


class RunFolder:
    """Reads and writes the files of one run.

    Args:
        path: the folder; `create` makes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, spec: Spec) -> Path:
        """Make the folder, write what to do, forget an earlier failure, and return the path of the order."""
        with storage_errors("starting a training run"):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.path / _OUTCOME).unlink(missing_ok=True)
            return self._write(_SPEC, spec.model_dump_json(indent=1))

    def metrics(self) -> list[dict[str, Any]]:
        """Return the curve, without a last line that is being written."""
        try:
            text = (self.path / _METRICS).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        found = []
        for line in text.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def last_step(self) -> tuple[int, int] | None:
        """Return the last step of the curve, and how many there are to be; None before the first."""
        curve = self.metrics()
        return (int(curve[-1]["step"]), int(curve[-1]["of"])) if curve else None

    def note(self, point: dict[str, Any]) -> None:
        """Add a point to the curve."""
        with storage_errors("writing the curve of a training run"), (self.path / _METRICS).open("ab") as stream:
            stream.write(json.dumps(point).encode() + b"\n")

    def rewind(self, step: int) -> None:
        """Forget the points after a step: the run goes on from there."""
        self._write_lines(point for point in self.metrics() if point["step"] <= step)

    def ending(self) -> Ending | None:
        """Return how the process ended; None if it has not, or was killed."""
        try:
            return Ending.model_validate_json((self.path / _OUTCOME).read_bytes())
        except FileNotFoundError:
            return None

    def end(self, ending: Ending) -> None:
        """Note how the process ended."""
        with storage_errors("writing the outcome of a training run"):
            self._write(_OUTCOME, ending.model_dump_json(indent=1))

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        try:
            text = (self.path / LOG).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _write_lines(self, points: Iterable[dict[str, Any]]) -> None:
        self._write(_METRICS, "".join(json.dumps(point) + "\n" for point in points))

    def _write(self, name: str, text: str) -> Path:
        path = self.path / name
        temporary = path.with_name(f".{name}.{os.getpid()}")
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        return path

"""The process of a run: `python -m keepstone.training.runs.process SPEC.json`.

It ends with 0 and an outcome, good or bad, in the folder of the run; or with 75 after SIGTERM, having saved a
checkpoint; or it is killed, and then a process started anew goes on from the last whole checkpoint.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from keepstone.platform.errors import KeepstoneError, LimitExceeded, StorageFull
from keepstone.platform.locks import exclusive_lock
from keepstone.training.recipes import recipe
from keepstone.training.recipes.base import Outcome, Stopped
from keepstone.training.runs.folder import LOG, Ending, RunFolder, Spec

STOPPED = 75
# For the process of a killed app to save its checkpoint.
_LOCK_WAIT_S = 60.0
_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|bad_alloc", re.IGNORECASE)
_NO_SPACE = re.compile(r"No space left|os error 28|Disk quota exceeded|PytorchStreamWriter|enforce fail at inline_cont")


class _FolderReport:
    """Writes the curve, and hears SIGTERM."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._began = time.monotonic()
        self._before = 0.0
        self._last: int | None = None
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def step(self, step: int, of: int, **values: float) -> None:
        """Write a point of the curve; the first one of a resumed run cuts off what comes again."""
        if self._last is None:
            self._folder.rewind(step - 1)
            earlier = self._folder.metrics()
            self._before = float(earlier[-1]["seconds"]) if earlier else 0.0
        self._last = step
        seconds = self._before + time.monotonic() - self._began
        self._folder.note({"step": step, "of": of, **values, "seconds": round(seconds, 3)})

    def stopping(self) -> bool:
        """Tell whether SIGTERM came."""
        return self._asked

    def _ask(self, *_: Any) -> None:
        self._asked = True


def main(arguments: list[str]) -> int:
    """Carry out the order and return the exit code."""
    spec = Spec.model_validate_json(Path(arguments[0]).read_bytes())
    folder = RunFolder(spec.work)
    report = _FolderReport(folder)
    try:
        with exclusive_lock(spec.work.parent / "run.lock", "Another training run is under way", wait_s=_LOCK_WAIT_S):
            outcome = _train(spec, report)
    except Stopped:
        return STOPPED
    except Exception as error:  # the boundary of the process: whatever it was, people are told
        sys.excepthook(*sys.exc_info())
        worded = word(error)
        folder.end(Ending(error=worded.message, fix=worded.fix, code=worded.code))
        return 0
    folder.end(Ending(metrics=outcome.metrics))
    return 0


def word(error: Exception) -> KeepstoneError:
    """Return what went wrong in plain words."""
    if isinstance(error, KeepstoneError):
        return error
    said = str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or _NO_SPACE.search(said):
        return StorageFull(
            "No space left on the disk while training",
            fix="Free some space, then `keepstone jobs retry ID`: it goes on at the last checkpoint",
        )
    if isinstance(error, MemoryError) or _NO_MEMORY.search(said):
        return out_of_memory()
    return KeepstoneError(
        f"The training failed ({type(error).__name__}: {said.splitlines()[0][:200] if said else 'no reason given'})",
        fix=f"The run's {LOG} has the details",
    )


def out_of_memory() -> KeepstoneError:
    """Return the error of a run that the machine is too small for."""
    return LimitExceeded(
        "The memory of this machine was not enough for this training",
        fix="Set a smaller batch_size or max_tokens, or choose a smaller model; --plan estimates the memory",
    )


def _train(spec: Spec, report: _FolderReport) -> Outcome:
    made = recipe(spec.recipe)
    return made.train(made.configure(spec.config), spec.paths, report)


if __name__ == "__main__":
    # People who ask meanwhile come first.
    os.nice(5)
    raise SystemExit(main(sys.argv[1:]))

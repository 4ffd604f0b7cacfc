"""Starts the process of a run under the guard, so that it ends with us whatever happens, and waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from keepstone.platform.errors import storage_errors
from keepstone.platform.serving import guard
from keepstone.training.runs.folder import LOG, RunFolder

# A closing app waits for ten seconds; the checkpoint must be there before.
GRACE_S = 8.0
_POLL_S = 0.2
log = structlog.get_logger(__name__)


def run_guarded(order: Path, folder: RunFolder, watch: Callable[[], None]) -> int:
    """Run `training.runs.process` to its end and return its exit code, 128 + N where signal N ended it.

    Args:
        order: the spec.json.
        folder: of the run; its log gets what the process prints.
        watch: called a few times a second; what it raises ends the process, and is raised on.
    """
    program = [sys.executable, "-m", "keepstone.training.runs.process", str(order)]
    guarded = [sys.executable, "-I", "-S", guard.__file__, "--grace", str(GRACE_S), "--", *program]
    with storage_errors("starting a training run"), (folder.path / LOG).open("ab") as output:
        process = subprocess.Popen(
            guarded, stdin=subprocess.PIPE, stdout=output, stderr=output, env=_environment(), cwd=folder.path
        )
    log.info("training_process_started", pid=process.pid)
    assert process.stdin is not None
    try:
        while process.poll() is None:
            watch()
            time.sleep(_POLL_S)
    finally:
        # The guard ends the program when this pipe closes.
        process.stdin.close()
        process.wait()
    log.info("training_process_ended", pid=process.pid, code=process.returncode)
    return process.returncode


def _environment() -> dict[str, str]:
    """Return our environment, without anything that would make the libraries look for a network or write elsewhere."""
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TQDM_DISABLE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    # Trainers would spread over all GPUs in a way that is slow and not resumable to the last bit.
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    return os.environ | quiet | {"CUDA_VISIBLE_DEVICES": first}

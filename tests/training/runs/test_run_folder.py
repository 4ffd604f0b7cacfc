"""The files of a run, and the words for what goes wrong in its process."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from keepstone.platform.errors import InvalidInput, KeepstoneError, LimitExceeded, StorageFull
from keepstone.training.runs.folder import Ending, RunFolder
from keepstone.training.runs.process import word


def test_the_curve_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    """Half a last line is no point yet."""
    folder = RunFolder(tmp_path)
    assert folder.metrics() == []
    assert folder.last_step() is None
    for step in (1, 2, 3):
        folder.note({"step": step, "of": 9, "loss": 1 / step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "o')
    assert folder.last_step() == (3, 9)


def test_the_curve_of_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    """What came after the checkpoint is forgotten, half lines included."""
    folder = RunFolder(tmp_path)
    for step in range(1, 8):
        folder.note({"step": step, "of": 9})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8,')
    folder.rewind(4)
    folder.note({"step": 5, "of": 9})
    assert [point["step"] for point in folder.metrics()] == [1, 2, 3, 4, 5]


def test_a_killed_process_has_no_ending(tmp_path: Path) -> None:
    """Only one that came to its end has."""
    folder = RunFolder(tmp_path)
    assert folder.ending() is None
    folder.end(Ending(metrics={"loss": 1.0}))
    assert folder.ending() == Ending(metrics={"loss": 1.0})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), StorageFull),
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"), StorageFull),
        (RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)"), StorageFull),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), LimitExceeded),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), LimitExceeded),
        (MemoryError(), LimitExceeded),
        (InvalidInput("no", fix="yes"), InvalidInput),
        (ValueError("something else\nand more"), KeepstoneError),
    ],
)
def test_failures_are_worded(error: Exception, kind: type[KeepstoneError]) -> None:
    """Each names what to do."""
    worded = word(error)
    assert type(worded) is kind
    assert worded.fix
    assert "\n" not in worded.message

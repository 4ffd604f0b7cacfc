"""Locks: one holder at a time, known by its process id, gone with its process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from keepstone.platform.errors import Conflict
from keepstone.platform.locks import exclusive_lock, holder

HOLD = """
import sys, time
from pathlib import Path
from keepstone.platform.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "held"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    """And the lock of a process that was killed is free at once."""
    path = tmp_path / "new" / "app.lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"held\n"
    message = f"Keepstone runs here already \\(process {process.pid}\\)"
    with pytest.raises(Conflict, match=message) as caught, exclusive_lock(path, "Keepstone runs here already"):
        pass
    assert f"kill {process.pid}" in (caught.value.fix or "")
    assert holder(path) == process.pid
    process.kill()
    process.wait()
    with exclusive_lock(path, "x"):
        assert holder(path) == os.getpid()
    assert holder(path) is None


def test_threads_exclude_each_other_and_may_wait(tmp_path: Path) -> None:
    """The lock is no matter of processes only, and is free again after an error."""
    path = tmp_path / "lock"
    inside = 0

    def work() -> None:
        nonlocal inside
        with exclusive_lock(path, "x", wait_s=30):
            inside += 1
            assert inside == 1
            inside -= 1

    with pytest.raises(ZeroDivisionError), exclusive_lock(path, "x"):
        raise ZeroDivisionError
    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with exclusive_lock(path, "x"), pytest.raises(Conflict, match="x"), exclusive_lock(path, "x", fix="wait"):
        pass


def test_the_fix_can_be_given(tmp_path: Path) -> None:
    """Who takes a lock knows best what a person can do."""
    with (
        exclusive_lock(tmp_path / "lock", "x"),
        pytest.raises(Conflict) as caught,
        exclusive_lock(tmp_path / "lock", "x", fix="Run `keepstone down`"),
    ):
        pass
    assert caught.value.fix == "Run `keepstone down`"


def test_nobody_holds_what_is_not_there(tmp_path: Path) -> None:
    """A fresh home folder."""
    assert holder(tmp_path / "none") is None


def test_a_forked_child_does_not_keep_it(tmp_path: Path) -> None:
    """Worker processes are forked while the app holds its lock, and may outlive it for a moment."""
    path = tmp_path / "lock"
    with exclusive_lock(path, "x"):
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    with exclusive_lock(path, "x"):
        pass
    process.communicate(b"\n")

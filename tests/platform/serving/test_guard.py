"""Nothing of a guarded program outlives its guard, its caller or itself, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from keepstone.platform.serving import guard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard leans on Linux's process control")

# A program with a child in its group and one that left the group; with "deaf" it ignores SIGTERM.
PROGRAM = """
import os, signal, subprocess, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
inside = subprocess.Popen(sleep)
outside = subprocess.Popen(sleep, start_new_session="escape" in sys.argv)
with open(sys.argv[1] + ".tmp", "w") as f:
    f.write(f"{os.getpid()} {inside.pid} {outside.pid}")
os.rename(sys.argv[1] + ".tmp", sys.argv[1])
if "exit" in sys.argv:
    os._exit(7)
time.sleep(600)
"""
CALLER = """
import subprocess, sys, time
guard = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
time.sleep(600)
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Collect the processes that a test starts; none of them may be left at its end."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def guarded(pids: Path, *words: str, grace: str = "10") -> list[str]:
    program = [sys.executable, "-I", "-S", "-c", PROGRAM, str(pids), *words]
    return [sys.executable, "-I", "-S", guard.__file__, "--grace", grace, "--", *program]


def wait_for(path: Path) -> list[psutil.Process]:
    for _ in range(1000):
        if path.exists():
            found = []
            for pid in path.read_text().split():
                try:
                    found.append(psutil.Process(int(pid)))
                except psutil.NoSuchProcess:
                    continue
            return found
        time.sleep(0.01)
    raise AssertionError("the program did not start")


def all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=15)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def start(command: list[str], started: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    started.append(process)
    return process


def test_a_killed_caller_takes_everything_with_it(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    caller = start([sys.executable, "-c", CALLER, *guarded(tmp_path / "pids", "escape")], started)
    processes = wait_for(tmp_path / "pids")
    processes += psutil.Process(caller.pid).children(recursive=True)
    assert len(set(processes)) == 5  # guard, shadow, program and its two children
    caller.kill()
    assert all_gone(processes)


def test_a_killed_guard_takes_the_programs_group_with_it(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    process = start(guarded(tmp_path / "pids"), started)
    processes = wait_for(tmp_path / "pids") + psutil.Process(process.pid).children()
    process.kill()
    assert all_gone(processes)


def test_a_killed_program_takes_its_children_with_it(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    process = start(guarded(tmp_path / "pids", "escape"), started)
    program, *children = wait_for(tmp_path / "pids")
    shadow = psutil.Process(process.pid).children()
    program.kill()
    assert process.wait(15) == 128 + signal.SIGKILL
    assert all_gone([*children, *shadow])


def test_the_exit_code_of_the_program_is_passed_on(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    process = start(guarded(tmp_path / "pids", "exit"), started)
    assert process.wait(15) == 7
    assert all_gone(wait_for(tmp_path / "pids"))


@pytest.mark.parametrize("deaf", [False, True])
def test_closing_the_pipe_ends_even_a_deaf_program(
    tmp_path: Path, started: list[subprocess.Popen[bytes]], deaf: bool
) -> None:
    words = ["deaf"] if deaf else []
    process = start(guarded(tmp_path / "pids", *words, grace="0.3" if deaf else "60"), started)
    processes = wait_for(tmp_path / "pids")
    assert process.stdin
    process.stdin.close()
    assert process.wait(15) == 128 + (signal.SIGKILL if deaf else signal.SIGTERM)
    assert all_gone(processes)


def test_sigterm_ends_the_program(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    process = start(guarded(tmp_path / "pids"), started)
    processes = wait_for(tmp_path / "pids")
    process.terminate()
    assert process.wait(15) == 128 + signal.SIGTERM
    assert all_gone(processes)


def test_a_caller_whose_pipe_is_held_by_another_is_missed_all_the_same(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    read, write = os.pipe()
    code = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:], stdin=0); time.sleep(600)"
    caller = subprocess.Popen([sys.executable, "-c", code, *guarded(tmp_path / "pids")], stdin=read)
    started.append(caller)
    processes = wait_for(tmp_path / "pids")
    caller.kill()
    assert all_gone(processes)
    os.close(read)
    os.close(write)


def test_a_program_that_cannot_start_is_an_error() -> None:
    command = [sys.executable, "-I", "-S", guard.__file__, "--", "/nowhere/program"]
    assert subprocess.run(command, stdin=subprocess.PIPE, capture_output=True, check=False).returncode != 0
    usage = subprocess.run([*command[:4], "program"], capture_output=True, check=False)
    assert b"usage" in usage.stderr

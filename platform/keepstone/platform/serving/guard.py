"""Starts a program and makes sure that nothing of it outlives us. Needs only the standard library.

`python -I -S guard.py [--grace SECONDS] [--record FILE] -- PROGRAM ARGUMENT...`, with a pipe as standard input that the
caller holds open. The program gets SIGTERM, and after the grace time SIGKILL, with everything that it started, when

- the pipe closes or the caller dies, even by SIGKILL;
- the guard gets SIGTERM or SIGINT.

When the program ends, what is left of its processes is killed, and the guard ends with its exit code. A forked shadow
kills the program's process group when the guard itself is killed. FILE tells session and process group, for finding the
program should even that fail.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_DEFAULT_GRACE_S = 20.0
_POLL_S = 1.0


def main(arguments: list[str]) -> int:
    """Run the program; return its exit code, 128 + N where signal N ended it."""
    options, command = _split(arguments)
    grace_s = float(options.get("--grace", _DEFAULT_GRACE_S))
    caller = os.getppid()
    wake = _wake_on_signals()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    program = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        process_group=0,
        # If the guard is killed, the program dies with it. Safe here: the guard has one thread.
        preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
    )
    shadow, lifeline = _fork_shadow(program.pid)
    if "--record" in options:
        _record(options["--record"], program.pid)
    _wait_for_end(program, wake, caller)
    code = _end(program, grace_s)
    _kill_descendants(program.pid, spare=shadow)
    with contextlib.suppress(BrokenPipeError):
        os.write(lifeline, b"done")
    os.close(lifeline)
    return code if code >= 0 else 128 - code


def _split(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    if "--" not in arguments or arguments[-1] == "--":
        raise SystemExit("usage: guard.py [--grace SECONDS] [--record FILE] -- PROGRAM ARGUMENT...")
    place = arguments.index("--")
    return dict(zip(arguments[:place:2], arguments[1:place:2], strict=True)), arguments[place + 1 :]


def boot_id() -> str:
    """Return what tells this run of the machine from others, whose process ids mean nothing now."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:  # noqa: PTH123
        return stream.read().strip()
    return ""


def _record(path: str, group: int) -> None:
    content = {"boot": boot_id(), "session": os.getsid(0), "group": group}
    temporary = f"{path}.{os.getpid()}"
    # Without room on the disk the program still runs, guarded all the same.
    with contextlib.suppress(OSError):
        with open(temporary, "w", encoding="ascii") as stream:  # noqa: PTH123
            json.dump(content, stream)
        os.replace(temporary, path)  # noqa: PTH105


def _wake_on_signals() -> int:
    """Let SIGCHLD, SIGTERM and SIGINT write their number into a pipe; return its end to read."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return read


def _wait_for_end(program: subprocess.Popen[bytes], wake: int, caller: int) -> None:
    """Return when the program ends, the caller goes away, or a signal asks to stop."""
    while program.poll() is None:
        ready, _, _ = select.select([0, wake], [], [], _POLL_S)
        if 0 in ready and not os.read(0, 4096):
            return
        if wake in ready and set(os.read(wake, 4096)) - {signal.SIGCHLD}:
            return
        # A forked child of the caller may hold the pipe open beyond the caller's death.
        if os.getppid() != caller:
            return


def _end(program: subprocess.Popen[bytes], grace_s: float) -> int:
    """End the program politely, then by force; return its exit code."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGTERM)
    try:
        return program.wait(grace_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        return program.wait()


def _kill_descendants(group: int, spare: int) -> None:
    """Kill the rest of the group, and orphans that left it: as subreaper we are their parent now."""
    while True:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        left = [pid for pid in _children() if pid != spare]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        if not left:
            return


def _children() -> list[int]:
    """Return the ids of our child processes; empty where there is no /proc."""
    ours = str(os.getpid())
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:  # noqa: PTH112, PTH208 - pathlib starts slowly
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stream:  # noqa: PTH123
                # The name in parentheses may hold anything; state and parent follow the last one.
                fields = stream.read().rpartition(b")")[2].split()
                if fields[1].decode() == ours:
                    found.append(int(name))
    return found


def _fork_shadow(group: int) -> tuple[int, int]:
    """Fork the process that kills `group` when we vanish; return its id and the pipe that holds it back."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(read)
        return pid, write
    os.close(write)
    with contextlib.suppress(OSError):
        os.setsid()
    # The caller's pipe and log must not stay open through us.
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if not os.read(read, 4):
        time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    os._exit(0)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

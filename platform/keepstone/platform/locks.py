"""Locks between processes, kept by the operating system: a process that dies lets go of its locks.

with exclusive_lock(home / "app.lock", "Keepstone is running already on this folder"):
    ...
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keepstone.platform.errors import Conflict, storage_errors

_POLL_S = 0.05
# `holder` takes the lock for an instant to look; whoever comes just then must not be turned away.
_GRACE_S = 0.2


@contextmanager
def exclusive_lock(path: Path, holder_message: str, *, fix: str | None = None, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file at `path`, which records our process id, until the block ends.

    Threads exclude each other as processes do; the lock is not reentrant.

    Args:
        path: the lock file; it is made, with its folders, and stays behind.
        holder_message: what it means that another process holds the lock, without a full stop.
        fix: what a person can do about that; by default, to end the holder or wait for it.
        wait_s: for how long to wait for the lock, in seconds.

    Raises:
        Conflict: another process holds the lock; the message names its process id.
        StorageFull: the lock file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, holder_message, fix, wait_s + _GRACE_S)
        with storage_errors(f"writing {path}"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
            # A forked child shares the lock, and closing our copy alone would leave it held.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def holder(path: Path) -> int | None:
    """Return the id of the process that holds the lock, or None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _recorded_pid(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, holder_message: str, fix: str | None, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _conflict(descriptor, holder_message, fix) from None
            time.sleep(_POLL_S)
        else:
            return


def _conflict(descriptor: int, holder_message: str, fix: str | None) -> Conflict:
    pid = _recorded_pid(descriptor)
    if pid is None:
        return Conflict(f"{holder_message} (by another process)", fix=fix or "Wait until that is done, and try again")
    return Conflict(
        f"{holder_message} (process {pid})", fix=fix or f"Wait until that is done, or end it with `kill {pid}`"
    )


def _recorded_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0)
    return int(text) if text.isdigit() else None

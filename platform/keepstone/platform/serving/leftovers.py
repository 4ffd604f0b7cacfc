"""Processes of an engine whose app is gone: found by a mark in their environment, which all descendants inherit."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

import psutil
import structlog

from keepstone.platform.errors import Conflict

HOME_MARK = "KS_ENGINE_HOME"
_GRACE_S = 10.0
_log = structlog.get_logger(__name__)


def leftovers(home: Path) -> list[psutil.Process]:
    """Return the living processes of engines that were started for `home`. Call it while holding the engine's lock."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(HOME_MARK) == str(home):
                found.append(process)
    return found


def end_leftovers(home: Path) -> int:
    """End them, politely first; return how many there were."""
    found = leftovers(home)
    for process in found:
        _log.warning("engine.ending_leftover", pid=process.pid)
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(found, timeout=_GRACE_S)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=_GRACE_S)
    return len(found)


def refuse_used_port(port: int) -> None:
    """Make sure that nobody listens on the engine's port.

    Raises:
        Conflict: somebody does; the message names the process where that can be told.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise Conflict(
                f"The engine's port {port} is in use{_holder(port)}",
                fix="End that program, or set engine.port in keepstone.toml to a free port",
            ) from error


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listens and getattr(connection.laddr, "port", None) == port and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""

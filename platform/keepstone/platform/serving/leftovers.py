"""Processes of an engine whose app is gone.

They are found by a mark in their environment, which descendants inherit, and by the session and process group that the
guard recorded: vLLM's workers rename themselves, which overwrites the environment that others see.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from pathlib import Path

import psutil
import structlog

from keepstone.platform.errors import Conflict
from keepstone.platform.serving import guard
from keepstone.platform.serving.places import PLACES, record_path

HOME_MARK = "KS_ENGINE_HOME"
PLACE_MARK = "KS_ENGINE_PLACE"
_GRACE_S = 10.0
_log = structlog.get_logger(__name__)


def leftovers(home: Path, place: str | None = None) -> list[psutil.Process]:
    """Return the living processes of engines that were started for `home`. Call it while holding the engine's lock.

    Args:
        home: the folder of all state.
        place: only those of the engine in this place; None: of all engines.
    """
    places = PLACES if place is None else (place,)
    recorded = {found for each in places if (found := _recorded(record_path(home, each)))}
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and (_is_marked(process, home, places) or _is_recorded(process.pid, recorded))
    ]


def _is_marked(process: psutil.Process, home: Path, places: tuple[str, ...]) -> bool:
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    return environment.get(HOME_MARK) == str(home) and environment.get(PLACE_MARK, PLACES[0]) in places


def _is_recorded(pid: int, recorded: set[tuple[int, int]]) -> bool:
    # The kernel gives no number to a new process while it still names a group or session with members.
    try:
        return bool(recorded) and (os.getsid(pid), os.getpgid(pid)) in recorded
    except OSError:
        return False


def _recorded(record: Path) -> tuple[int, int] | None:
    """Return session and process group of the engine that was last started there in this run of the machine."""
    try:
        content = json.loads(record.read_text(encoding="ascii"))
        found = int(content["session"]), int(content["group"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if content["boot"] == guard.boot_id() else None


def end_leftovers(home: Path, place: str | None = None) -> int:
    """End them, politely first; return how many there were."""
    found = leftovers(home, place)
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

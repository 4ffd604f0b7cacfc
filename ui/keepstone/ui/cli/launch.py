"""Starting the app in the background, waiting until it answers, and ending it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from keepstone.platform import logs
from keepstone.platform.errors import EngineUnavailable, KeepstoneError, Unavailable, storage_errors
from keepstone.platform.locks import exclusive_lock, holder
from keepstone.platform.settings import Settings
from keepstone.ui.cli.engine import last_lines
from keepstone.ui.running import RunningApp, find_app, lock_path

SERVER_MODULE = "keepstone.ui.http.server"
_POLL_S = 0.2
# Open requests, jobs and the engine each get their time to end.
_STOP_S = 60.0


def app_log(home: Path) -> Path:
    """Return where the app logs."""
    return home / "logs" / logs.FILE_NAME


def start_detached(settings: Settings) -> subprocess.Popen[bytes]:
    """Start the app as a process of its own, which outlives this one."""
    path = _crash_log(settings.home)
    with storage_errors(f"opening {path}"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            # -P: the folder it runs in must not be searched for modules.
            [sys.executable, "-P", "-m", SERVER_MODULE, "--detached"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=settings.home,
            env=os.environ | child_environment(settings),
            start_new_session=True,
        )
    finally:
        os.close(log)


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that give a child our settings, those of the command line included."""
    return {
        "KEEPSTONE_HOME": str(settings.home),
        "KEEPSTONE_APP__HOST": settings.app.host,
        "KEEPSTONE_APP__PORT": str(settings.app.port),
    }


def wait_for_app(settings: Settings, is_alive: Callable[[], bool]) -> RunningApp:
    """Return the app as soon as it answers.

    Args:
        settings: of the app.
        is_alive: tells whether the process that starts it is still there.

    Raises:
        KeepstoneError: it ended; the reason is the last error in its log.
    """
    import httpx

    with httpx.Client(timeout=2.0, trust_env=False) as http:
        while True:
            alive = is_alive()
            app = find_app(settings.home)
            if app is not None:
                try:
                    if http.get(f"{app.url}/healthz").is_success:
                        return app
                except httpx.HTTPError:
                    pass
            elif not alive:
                raise why_it_ended(settings.home)
            time.sleep(_POLL_S)


def wait_for_engine(status: Callable[[], dict[str, Any]]) -> None:
    """Return when the engine answers.

    Args:
        status: asks the app for the engine's part of its status.

    Raises:
        EngineUnavailable: it failed; the message ends with the last lines of its log.
    """
    while True:
        engine = status()
        if engine["ready"] or engine["state"] == "off":
            return
        if engine["state"] in ("failed", "down", "stopped"):
            log = engine.get("log")
            lines = "\n".join(last_lines(Path(log), 10)) if log else ""
            if engine["mode"] == "external":
                raise EngineUnavailable(
                    "The language model's server (engine.url) does not answer",
                    fix="Start it, or mend engine.url in keepstone.toml and run `keepstone down && keepstone up`",
                )
            message = f"The engine does not run: {engine['message'] or engine['state']}"
            # Without a log there is no process to start again: what it needs is missing.
            again = "keepstone engine restart" if log else "keepstone down && keepstone up"
            raise EngineUnavailable(f"{message}\n{lines}" if lines else message, fix=f"Mend that, then run `{again}`")
        time.sleep(_POLL_S)


def why_it_ended(home: Path) -> KeepstoneError:
    """Return the error with which the app ended, from the end of its log, or else what it printed as it died."""
    for line in reversed(last_lines(app_log(home), 15)):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == "app.failed":
            return Unavailable(str(event.get("reason")), fix=event.get("fix"))
    said = last_lines(_crash_log(home), 15)
    fix = f"The logs are {app_log(home)} and {_crash_log(home)}"
    return Unavailable("\n".join(["Keepstone ended while it started", *said]), fix=fix)


def stop_app(settings: Settings, pid: int) -> bool:
    """End the app and its engine: politely, then by force; return whether it had to be forced."""
    process = psutil.Process(pid)
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while time.monotonic() < deadline:
        if holder(lock_path(settings.home)) != pid and not _lives(process):
            return False
        time.sleep(_POLL_S)
    if _lives(process):
        process.kill()
        process.wait(_STOP_S)
    end_engine(settings.home)
    return True


def end_engine(home: Path) -> int:
    """End what is left of an engine whose app is gone; return how many processes there were."""
    from keepstone.platform.serving.leftovers import end_leftovers

    with exclusive_lock(home / "engine" / "engine.lock", "Another Keepstone runs an engine in this folder", wait_s=5):
        return end_leftovers(home)


def is_app(pid: int) -> bool:
    """Tell whether a process is an app that starts or runs, rather than a command at work."""
    try:
        line = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return SERVER_MODULE in line or "up" in line


def _crash_log(home: Path) -> Path:
    """Return where a detached app's standard error goes: what Python and its libraries say when they die."""
    return home / "logs" / "app.log"


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

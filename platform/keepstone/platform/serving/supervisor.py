"""Keeps the engine alive: starts it under the guard, watches its health, restarts it, drains and stops it.

supervisor = EngineSupervisor(launch, home=settings.home)
supervisor.start()
supervisor.wait_ready(900)
...
supervisor.stop(drain_s=30)
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Literal

import httpx
import structlog

from keepstone.platform.database.tables import utc_now
from keepstone.platform.errors import EngineUnavailable, KeepstoneError
from keepstone.platform.locks import exclusive_lock
from keepstone.platform.serving import guard
from keepstone.platform.serving.enginelog import engine_log, explain_death, open_log
from keepstone.platform.serving.leftovers import HOME_MARK, PLACE_MARK, end_leftovers, refuse_used_port
from keepstone.platform.serving.places import PLACES, lock_path, record_path
from keepstone.platform.serving.vllm import Launch

State = Literal["off", "starting", "ready", "restarting", "failed", "draining", "stopped"]
_RUNNING = re.compile(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)
_HEALTH_EVERY_S = 2.0
_DIED = "The engine has died and is being restarted"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """Where the engine is."""

    state: State
    message: str
    """For people: what is happening, or why it failed."""
    fix: str | None = None
    """What mends a failure."""
    since: datetime
    restarts: int
    pid: int | None
    """Of the guard, the parent of all the engine's processes."""
    log_path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the supervisor waits for what, in seconds."""

    start_s: float = 900.0
    """From the start until it answers."""
    unhealthy_s: float = 60.0
    """Without any answer, until it is restarted."""
    dead_s: float = 5.0
    """For the rest of an engine that has died to end by itself."""
    poll_s: float = 0.2
    grace_s: float = 20.0
    """Between SIGTERM and SIGKILL."""
    first_pause_s: float = 1.0
    """Before the first restart; each further one doubles it, up to a minute."""
    settled_s: float = 30.0
    """A life shorter than this after getting ready is a quick death."""
    lock_s: float = 5.0
    """For another app on this folder to end."""
    quick_deaths: int = 5
    """After so many in a row it gives up."""


class EngineSupervisor:
    """Runs one engine in one home folder. All methods may be called from any thread.

    Args:
        launch: how the engine is started.
        home: the folder of all state: the log is `logs/engine.log` in it, the lock `engine/engine.lock`.
        patience: how long to wait for what.
        place: which of the places for engines it takes, whose name log and lock have.
        on_answer: called each time that a new process answers, before it counts as ready. `EngineUnavailable` means
            not yet; any other `KeepstoneError` means never.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        home: Path,
        patience: Patience | None = None,
        place: str = PLACES[0],
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self._launch = launch
        self._home = home
        self._place = place
        self._on_answer = on_answer
        self._patience = patience or Patience()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._status = EngineStatus(
            state="off",
            message="The engine is off",
            since=utc_now(),
            restarts=0,
            pid=None,
            log_path=engine_log(home, place),
        )

    def start(self) -> None:
        """Begin to start the engine and return at once; does nothing while it is running."""
        with self._changed:
            if self._thread is not None and self._thread.is_alive():
                if self._status.state != "failed":
                    return
                self._thread.join()  # it only has its lock to let go of
            self._stop.clear()
            self._set("starting", "The engine is starting", restarts=0)
            self._thread = threading.Thread(target=self._run, name="engine-supervisor", daemon=True)
            self._thread.start()

    def status(self) -> EngineStatus:
        """Return where the engine is."""
        with self._changed:
            return self._status

    def explain(self) -> str | None:
        """Return why the engine does not answer, as far as is known; None while it should answer.

        Whoever asks has met a silent engine, so it is looked at at once.
        """
        self._wake.set()
        status = self.status()
        if status.state == "ready":
            return None
        seconds = int((utc_now() - status.since).total_seconds())
        return f"{status.message} (for {seconds} s)" if status.state in ("starting", "restarting") else status.message

    def wait_ready(self, timeout: float) -> None:
        """Return when the engine answers.

        Raises:
            EngineUnavailable: it failed, was stopped, or does not answer after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._status.state != "ready":
                left = deadline - time.monotonic()
                if self._status.state in ("failed", "stopped", "off"):
                    fix = self._status.fix or f"Its log is {self._status.log_path}"
                    raise EngineUnavailable(self._status.message, fix=fix)
                if left <= 0 or not self._changed.wait(left):
                    message = f"The engine does not answer after {timeout:g} s"
                    raise EngineUnavailable(message, fix=f"Its log is {self._status.log_path}")

    def stop(self, drain_s: float = 0.0) -> None:
        """Wait up to `drain_s` seconds for running requests, end the engine, and return when nothing of it is left."""
        with self._changed:
            thread = self._thread
            draining = drain_s > 0 and self._status.state == "ready"
            if draining:
                self._set("draining", "The engine finishes what it is doing")
        if draining:
            self._drain(time.monotonic() + drain_s)
        self._stop.set()
        self._wake.set()
        if thread is not None:
            thread.join()
        with self._changed:
            self._set("stopped", "The engine was stopped", pid=None)

    def _run(self) -> None:
        lock = lock_path(self._home, self._place)
        try:
            with exclusive_lock(lock, "Another Keepstone runs an engine in this folder", wait_s=self._patience.lock_s):
                self._live()
        except KeepstoneError as error:
            self._fail(error.message, error.fix)
        except Exception as error:  # the thread's end: nobody else would ever hear of it
            _log.exception("engine.supervisor_broke")
            self._fail(f"The engine's supervisor broke: {error!r}")

    def _live(self) -> None:
        """Start the engine again and again until it is stopped or dies too often in a row."""
        quick_deaths = 0
        while not self._stop.is_set():
            lived_s, code = self._one_life()
            if self._stop.is_set():
                return
            settled = lived_s is not None and lived_s >= self._patience.settled_s
            quick_deaths = 1 if settled else quick_deaths + 1
            reason, fix = explain_death(engine_log(self._home, self._place), code)
            _log.warning("engine.died", exit_code=code, lived_s=lived_s, quick_deaths=quick_deaths)
            if quick_deaths >= self._patience.quick_deaths:
                self._fail(f"The engine died {quick_deaths} times in a row. {reason}", fix)
                return
            restarts = self.status().restarts + 1
            self._set("restarting", f"The engine is restarting. {reason}", fix, pid=None, restarts=restarts)
            self._stop.wait(min(60.0, self._patience.first_pause_s * 2 ** (quick_deaths - 1)))

    def _one_life(self) -> tuple[float | None, int | None]:
        """Run the engine until it dies, hangs or is to stop.

        Returns:
            For how many seconds it was ready, None if never; and its exit code, None if it hangs.
        """
        end_leftovers(self._home, self._place)
        refuse_used_port(self._launch.port)
        with open_log(self._home, self._place) as log:
            process = self._spawn(log)
        self._set(self._status.state, self._status.message, pid=process.pid)
        try:
            return self._watch(process)
        finally:
            if not self._stop.is_set() and self.status().state == "ready":
                self._set("restarting", _DIED)  # at once: ending what is left of it takes a while
            self._end(process)

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", guard.__file__, "--grace", str(self._patience.grace_s)]
        return subprocess.Popen(
            [*command, "--record", str(record_path(self._home, self._place)), "--", *self._launch.command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**self._launch.environment, HOME_MARK: str(self._home), PLACE_MARK: self._place},
            cwd=self._home,
            start_new_session=True,
        )

    def _watch(self, process: subprocess.Popen[bytes]) -> tuple[float | None, int | None]:
        started = heard = time.monotonic()
        ready_at: float | None = None
        with httpx.Client(timeout=5.0, trust_env=False) as client:
            while not self._stop.is_set() and process.poll() is None:
                asked = self._wake.wait(self._patience.poll_s)
                self._wake.clear()
                now = time.monotonic()
                if ready_at is not None and now - heard < _HEALTH_EVERY_S and not asked:
                    continue
                health = self._health(client)
                if health == "well" and (ready_at is not None or self._prepared()):
                    heard = now
                    if ready_at is None:
                        ready_at = now
                        _log.info("engine.ready", model=self._launch.model, took_s=round(now - started, 1))
                    if self.status().state != "ready":
                        self._set("ready", f"The engine serves {self._launch.model}")
                elif ready_at is None:
                    if now - started > self._patience.start_s:
                        _log.warning("engine.start_timed_out", after_s=self._patience.start_s)
                        break
                else:
                    if health == "dead" and self.status().state == "ready":
                        self._set("restarting", _DIED)
                    if now - heard > (self._patience.dead_s if health == "dead" else self._patience.unhealthy_s):
                        _log.warning("engine.hangs", silent_s=round(now - heard, 1))
                        break
        lived_s = round(time.monotonic() - ready_at, 1) if ready_at is not None else None
        return lived_s, process.poll()

    def _prepared(self) -> bool:
        """Give a new process what it needs; tell whether it has it."""
        try:
            self._on_answer()
        except EngineUnavailable as error:
            _log.warning("engine.not_prepared", reason=error.message)
            return False
        return True

    def _health(self, client: httpx.Client) -> Literal["well", "dead", "silent"]:
        """Ask the engine; `dead` when nobody listens or it says itself that it cannot go on, which never mends."""
        try:
            return "well" if client.get(self._launch.health_url).status_code == httpx.codes.OK else "dead"
        except httpx.ConnectError:
            return "dead"
        except httpx.HTTPError:
            return "silent"

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Close the guard's pipe, which ends the engine; the guard itself is killed only if it hangs."""
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(self._patience.grace_s + 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        end_leftovers(self._home, self._place)

    def _drain(self, deadline: float) -> None:
        with httpx.Client(timeout=5.0, trust_env=False) as client:
            while time.monotonic() < deadline:
                try:
                    text = client.get(self._launch.metrics_url).text
                except httpx.HTTPError:
                    return
                if sum(float(count) for count in _RUNNING.findall(text)) == 0:
                    return
                time.sleep(min(0.2, self._patience.poll_s))

    def _fail(self, message: str, fix: str | None = None) -> None:
        _log.error("engine.failed", reason=message)
        self._set("failed", message, fix, pid=None)

    def _set(
        self,
        state: State,
        message: str,
        fix: str | None = None,
        *,
        pid: int | Literal["same"] | None = "same",
        restarts: int | None = None,
    ) -> None:
        with self._changed:
            before = self._status
            if before.state == "draining" and state == "ready":
                return
            self._status = replace(
                before,
                state=state,
                message=message,
                fix=fix,
                since=before.since if before.state == state else utc_now(),
                pid=before.pid if pid == "same" else pid,
                restarts=before.restarts if restarts is None else restarts,
            )
            self._changed.notify_all()

"""`keepstone up` and `keepstone down`."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keepstone.platform.errors import KeepstoneError
from keepstone.platform.locks import holder
from keepstone.ui.cli.client import connect, refuse_if_busy
from keepstone.ui.cli.context import load_settings
from keepstone.ui.cli.ingest import ingest_first
from keepstone.ui.cli.output import console, emit, mode, note, say, show_error
from keepstone.ui.cli.prepare import prepare
from keepstone.ui.cli.progress import progress_lines
from keepstone.ui.cli.status import show_better
from keepstone.ui.running import find_app, lock_path

if TYPE_CHECKING:
    from keepstone.platform.settings import Settings


def up(
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. Default: app.host.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Default: app.port.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the link in a browser.")] = True,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="With --detach: wait until the engine answers.")
    ] = True,
    examples: Annotated[
        Path | None, typer.Option("--examples", help="Folder to read into the collection `examples` the first time.")
    ] = None,
) -> None:
    """Start Keepstone, and print the link that opens it. The first time, install what is missing."""
    chosen = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load_settings(**({"app": chosen} if chosen else {}))
    if find_app(settings.home) is not None:
        _tell(settings, browser=browser, wait=wait, examples=examples, already=True)
        return
    refuse_if_busy(settings)
    prepare(settings)
    if detach:
        from keepstone.ui.cli import launch

        process = launch.start_detached(settings)
        with progress_lines() as progress:
            progress(f"Starting Keepstone; its log is {launch.app_log(settings.home)}")
            launch.wait_for_app(settings, lambda: process.poll() is None)
        _tell(settings, browser=browser, wait=wait, examples=examples)
        return
    _serve_here(settings, browser=browser, examples=examples)


def down() -> None:
    """Stop Keepstone and its engine."""
    from keepstone.ui.cli import launch

    settings = load_settings()
    pid = holder(lock_path(settings.home))
    if pid is None or not launch.is_app(pid):
        refuse_if_busy(settings)
        left = launch.end_engine(settings.home) if settings.home.exists() else 0
        ended = {"was_running": False, "ended_processes": left}
        emit(ended, "Keepstone is not running." + (" An engine was left; it is ended." if left else ""))
        return
    with progress_lines() as progress:
        progress("Stopping Keepstone")
        forced = launch.stop_app(settings, pid)
    emit({"was_running": True, "forced": forced}, "Killed." if forced else "Stopped.")


def _serve_here(settings: Settings, *, browser: bool, examples: Path | None) -> None:
    """Serve in this process until Ctrl-C."""
    from keepstone.platform import logs
    from keepstone.ui.http.server import serve

    # A person at a terminal is told what matters by us; a container's log wants everything.
    shown = {"level": "warning"} if sys.stderr.isatty() else {}
    logs.configure(settings.logging.model_copy(update=shown), settings.home / "logs")
    note("Starting Keepstone. Ctrl-C stops it.", "dim")
    telling = threading.Thread(target=_tell_later, args=(settings, browser, examples), name="tell", daemon=True)
    telling.start()
    try:
        serve(settings)
    except KeyboardInterrupt:
        note("Stopped.", "dim")


def _tell_later(settings: Settings, browser: bool, examples: Path | None) -> None:
    from keepstone.ui.cli import launch

    try:
        launch.wait_for_app(settings, lambda: True)
        _tell(settings, browser=browser, wait=True, examples=examples)
    except KeepstoneError as error:
        show_error(error)


def _tell(
    settings: Settings, *, browser: bool, wait: bool, examples: Path | None = None, already: bool = False
) -> None:
    """Print the link, wait for the engine, and name the better model that this machine could run."""
    with connect(engine=True) as api:
        if examples is not None:
            ingest_first(api, examples, "examples")
        link = api.post("/v1/login-links")
        if not mode.json:
            if already:
                say("Keepstone is running already.")
            console().print(f"\n  Open {link['url']}\n", style="bold", soft_wrap=True)
            note(f"The link works once, for {link['minutes']} minutes; `keepstone login` makes another.", "dim")
        if browser and _has_display() and not mode.json:
            webbrowser.open(link["url"])
        if wait:
            _wait_for_engine(api)
        status = api.get("/v1/status")
    result = {
        "url": link["url"],
        "already_running": already,
        "home": str(settings.home),
        "engine": status["engine"],
        "better": status["better"],
    }
    emit(result, lambda: _show_state(status))


def _wait_for_engine(api: Any) -> None:
    from keepstone.ui.cli import launch

    def engine() -> dict[str, Any]:
        found: dict[str, Any] = api.get("/v1/status")["engine"]
        return found

    first = engine()
    if first["ready"] or first["state"] == "off":
        return
    with progress_lines() as progress:
        progress(f"The model {first['model']} is starting; documents and search work already")
        launch.wait_for_engine(engine)


def _show_state(status: dict[str, Any]) -> None:
    engine = status["engine"]
    if engine["ready"]:
        say(f"Ready: {engine['model']} answers.", "green")
    elif engine["state"] == "off":
        say("The engine is off (engine.mode); documents and search work.")
    show_better(status["better"])


def _has_display() -> bool:
    visible = sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return visible and sys.stdout.isatty()

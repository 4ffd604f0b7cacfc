"""`keepstone status` and `keepstone version`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepstone.platform.locks import holder
from keepstone.ui.cli.client import connect
from keepstone.ui.cli.context import load_settings
from keepstone.ui.cli.output import emit, fields, say, table
from keepstone.ui.running import find_app, lock_path


def status() -> None:
    """Tell what runs: app, engine, collections, jobs, and the better model this machine could run."""
    settings = load_settings()
    if find_app(settings.home) is None:
        pid = holder(lock_path(settings.home))
        now = (
            f"Process {pid} is just starting or stopping it, or another command runs"
            if pid
            else "Keepstone is not running"
        )
        stopped = {"running": False, "home": str(settings.home), "busy_pid": pid}
        emit(stopped, lambda: fields({"Keepstone": now, "Home": settings.home, "Start it": "keepstone up"}))
        return
    with connect() as api:
        found = api.get("/v1/status")
    emit({"running": True, **found}, lambda: _show(found))


def show_version() -> None:
    """Print the version."""
    from keepstone.ui.version import version

    emit({"version": version()}, version())


def _show(found: Mapping[str, Any]) -> None:
    engine = found["engine"]
    state = engine["state"]
    fields(
        {
            "Keepstone": f"{found['version']}, running as process {found.get('pid', '?')}",
            "URL": found["url"],
            "Home": found.get("home"),
            "Machine": found.get("machine"),
            "Engine": ". ".join(filter(None, (f"{engine['serves']}: {state}", state != "ready" and engine["message"]))),
            "Engine log": engine.get("log"),
            "Encoder": ": ".join(filter(None, (found["encoder"]["model"], found["encoder"].get("message")))),
            "Database": found["database"],
        }
    )
    rows = [(each["name"], each["documents"], each["chunks"], each["encoder"]) for each in found["collections"]]
    head = ["Collection", ">Documents", ">Passages", "Encoder"]
    table(head, rows, empty="\nNo collections yet: keepstone ingest PATH -c NAME")
    if found["jobs"]:
        jobs = [
            (each["id"], each["kind"], each["collection"], each["state"], f"{each['done']}/{each['total']}")
            for each in found["jobs"]
        ]
        table(["Job", "Kind", "Collection", "State", ">Done"], jobs)
    show_better(found["better"])


def show_better(better: list[Mapping[str, Any]]) -> None:
    """Say which better models this machine could run, and how to get them."""
    for each in better:
        kind = "language model" if each["kind"] == "llm" else each["kind"]
        say(f"This machine could run a better {kind}: {each['title']}")
        for command in each["commands"]:
            say(f"  {command}", "dim")


def _done(job: Mapping[str, Any]) -> str:
    return f"{job['done']}/{job['total']}" if job["total"] else ""

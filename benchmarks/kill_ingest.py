"""Kills the app with SIGKILL in the midst of ingesting, again and again, and checks that nothing is lost or doubled.

    .venv/bin/python -m benchmarks.kill_ingest [--kills 10] [--documents 300] [--seed 0] [--json] [--check]

Each round starts the app on the same folder, lets it work for a random time, and kills it. After the last restart every
document must be there once with the passages that an undisturbed run gives it, and both indexes must equal the
database (`keepstone doctor --indexes`).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.app import App, prepared_app, running_app
from benchmarks.harness import Context, Figure, main
from keepstone.platform.errors import KeepstoneError, Unavailable
from keepstone.ui.running import find_app

_COLLECTION = "killed"
_PATIENCE_S = 600.0
_WORDS = ("lamp", "fuse", "pump", "valve", "filter", "gauge", "seal", "motor", "shaft", "rotor", "sensor", "cable")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found after the last restart."""

    kills: int
    killed_at: list[int]
    """How many documents were ready at each kill."""
    wrong_documents: int
    """Documents that are missing, doubled, or differ in a passage from an undisturbed run."""
    index_faults: int
    """1 where `keepstone doctor --indexes` found a difference."""


def kill_repeatedly(scratch: Path, *, kills: int, documents: int, seed: int) -> Outcome:
    """Ingest `documents` generated files, once undisturbed and once with kills, and compare."""
    folder = scratch / "files"
    write_documents(folder, documents, random.Random(seed))
    calm = scratch / "calm"
    with running_app(calm, engine=False) as app:
        started = time.monotonic()
        app.run("ingest", str(folder), "--collection", _COLLECTION)
        undisturbed_s = time.monotonic() - started
    expected = passages(calm)

    app = prepared_app(scratch / "killed", engine=False)
    moments = random.Random(seed + 1)
    killed_at: list[int] = []
    files = sorted(map(str, folder.iterdir()))
    for number in range(kills):
        app.run("up", "--detach", "--no-browser")
        # Something new each time, so that no kill meets an app that is done.
        app.run("ingest", *files[number::kills], "--collection", _COLLECTION, "--no-wait")
        time.sleep(moments.uniform(0.05, undisturbed_s))
        killed_at.append(_ready(app.home))
        _kill(app)
    try:
        app.run("up", "--detach", "--no-browser")
        _wait_until_done(app, documents)
        faults = app.run("doctor", "--indexes", check=False)
        index_faults = int("differ" in faults.stdout or faults.returncode != 0)
        found = passages(app.home)
    finally:
        app.run("down", check=False)
    differing = set(found.items()) ^ set(expected.items())
    return Outcome(len(killed_at), killed_at, len({name for name, _ in differing}), index_faults)


def write_documents(folder: Path, count: int, chance: random.Random) -> None:
    """Write `count` different Markdown files of a few sections each."""
    folder.mkdir(parents=True)
    for number in range(count):
        sections = [
            f"## Part {part}\n\n" + " ".join(f"The {chance.choice(_WORDS)} {number}-{n} fits." for n in range(60))
            for part in range(3)
        ]
        (folder / f"{number:04}.md").write_text(f"# Sheet {number}\n\n" + "\n\n".join(sections), encoding="utf-8")


def passages(home: Path) -> dict[str, tuple[tuple[int, int, str], ...]]:
    """Return the spans and texts of all passages, by document, from the database of a stopped or running app."""
    found: dict[str, list[tuple[int, int, str]]] = {}
    with sqlite3.connect(f"file:{home / 'keepstone.db'}?mode=ro", uri=True) as database:
        rows = database.execute(
            'SELECT d.id, d.name, c.start, c."end", c.text FROM documents d JOIN chunks c ON c.document_id = d.id '
            "ORDER BY d.name, c.ordinal"
        ).fetchall()
    documents = Counter(name for _, name in {(document_id, name) for document_id, name, *_ in rows})
    for _, name, start, end, text in rows:
        found.setdefault(f"{name} x{documents[name]}", []).append((start, end, text))
    return {name: tuple(spans) for name, spans in found.items()}


def _ready(home: Path) -> int:
    with sqlite3.connect(f"file:{home / 'keepstone.db'}?mode=ro", uri=True) as database:
        return int(database.execute("SELECT count(*) FROM documents WHERE state = 'ready'").fetchone()[0])


def _kill(app: App) -> None:
    running = find_app(app.home)
    if running is None:
        raise Unavailable("The app died before it was killed", fix=f"Read {app.home / 'logs'}")
    os.kill(running.pid, signal.SIGKILL)
    while find_app(app.home) is not None:
        time.sleep(0.05)


def _wait_until_done(app: App, documents: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if _ready(app.home) == documents:
                return
        except (sqlite3.OperationalError, httpx.HTTPError):
            pass
        time.sleep(0.5)
    raise KeepstoneError(f"After {_PATIENCE_S:.0f} s only {_ready(app.home)} of {documents} documents are ready")


def measure(context: Context) -> Iterable[Figure]:
    """Do as the options say."""
    options = context.options
    with tempfile.TemporaryDirectory(prefix="keepstone-kill-", ignore_cleanup_errors=True) as scratch:
        outcome = kill_repeatedly(Path(scratch), kills=options.kills, documents=options.documents, seed=options.seed)
    context.details["ready_at_each_kill"] = outcome.killed_at
    yield Figure("kills", [outcome.kills], "kills")
    yield Figure("wrong_documents", [outcome.wrong_documents], f"of {options.documents}")
    yield Figure("index_faults", [outcome.index_faults], "")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=10, help="how often to kill the app (default: 10)")
    parser.add_argument("--documents", type=int, default=300, help="how many files to ingest (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the files and of the moments (default: 0)")


if __name__ == "__main__":
    raise SystemExit(main("kill_ingest", measure, options=_options, runs=1))

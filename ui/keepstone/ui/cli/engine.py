"""`keepstone engine`: install, logs, restart."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from keepstone.platform.errors import NotFound
from keepstone.ui.cli.client import connect
from keepstone.ui.cli.context import hush, load_settings
from keepstone.ui.cli.output import clean, emit

app = typer.Typer(help="The language model's server.", no_args_is_help=True)


@app.command()
def install(force: Annotated[bool, typer.Option("--force", help="Make it anew even if it is there.")] = False) -> None:
    """Install vLLM into an environment of its own. Run it again after an interruption: it goes on."""
    from keepstone.platform.serving.install import install_engine
    from keepstone.ui.cli.progress import progress_lines

    settings = load_settings()
    hush(settings)
    with progress_lines() as progress:
        python = install_engine(settings.home, force=force, progress=progress)
    emit({"python": str(python)}, "The engine is installed.")


@app.command()
def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 50,
) -> None:
    """Print the engine's log."""
    from keepstone.platform.serving.enginelog import newest_log

    path = newest_log(load_settings().home)
    if not path.exists():
        raise NotFound("The engine has no log yet", fix="Start it: `keepstone up`")
    last = last_lines(path, lines)
    emit({"path": str(path), "lines": last}, "\n".join(last))
    if follow:
        _follow(path)


@app.command()
def restart() -> None:
    """Start the engine again, after what it is doing."""
    with connect(engine=True) as api:
        found = api.post("/v1/engine/restart")
    emit(found, "The engine is starting again. Watch: keepstone status")


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a file, without control characters."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [clean(line.rstrip()) for line in deque(file, count)]
    except OSError:
        return []


def _follow(path: Path) -> None:
    """Print what is added to a log until Ctrl-C, also when a new one takes its place."""
    file = path.open(encoding="utf-8", errors="replace")
    file.seek(0, 2)
    try:
        while True:
            if line := file.readline():
                typer.echo(clean(line.rstrip()))
                continue
            time.sleep(0.3)
            if path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                file.close()
                file = path.open(encoding="utf-8", errors="replace")
    finally:
        file.close()

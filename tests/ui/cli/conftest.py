"""Commands run in this process, with and without an app that runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from keepstone.platform import logs
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.platform.settings import LoggingSettings, default_home
from keepstone.retrieval.encoder import HashEncoder
from keepstone.ui.cli import inprocess
from keepstone.ui.cli.main import app
from keepstone.ui.http.app import create_app
from keepstone.ui.local_key import local_key
from keepstone.ui.running import RunningApp, announced
from keepstone.ui.runtime import Runtime
from tests.stack import NEVER_DECLINES, open_stack
from tests.ui.served import served

ANSWER = "The warranty lasts two years. [1]"
Keepstone = Callable[..., Result]


@pytest.fixture(scope="module", autouse=True)
def _logs() -> None:
    """Keep the logs of apps that run in this process out of what commands print."""
    logs.configure(LoggingSettings(level="error"))


@pytest.fixture
def keepstone(monkeypatch: pytest.MonkeyPatch) -> Keepstone:
    """Return a function that runs a command line; commands that need no app use light models."""
    light = partial(Runtime.open, engine=ScriptedEngine(default=ANSWER), encoder=HashEncoder())
    monkeypatch.setattr(inprocess, "open_runtime", light)
    runner = CliRunner()

    def run(*line: str | Path, stdin: str | None = None) -> Result:
        return runner.invoke(app, [str(part) for part in line], input=stdin)

    return run


@dataclass(frozen=True, slots=True)
class App:
    """An app that runs."""

    runtime: Runtime
    engine: ScriptedEngine
    url: str


@pytest.fixture
def running() -> Iterator[App]:
    """Serve an app on this test's home, where commands find it."""
    engine = ScriptedEngine(default=ANSWER)
    home = default_home()
    with (
        open_stack(home, engine=engine, answering=NEVER_DECLINES) as runtime,
        local_key(runtime.database) as key,
        served(create_app(runtime, web=False)) as server,
        announced(home, RunningApp(server.url, os.getpid(), key)),
    ):
        yield App(runtime, engine, server.url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with documents."""
    root = tmp_path / "docs"
    (root / "sub").mkdir(parents=True)
    (root / "warranty.md").write_text("# Warranty\n\nThe warranty lasts two years from the day of purchase.\n")
    (root / "sub" / "care.md").write_text("# Care\n\nClean the filter once a month.\n")
    (root / "empty.txt").write_text("")
    (root / ".hidden.md").write_text("secret")
    (root / "link.md").symlink_to(root / "warranty.md")
    return root


def parsed(result: Result) -> Any:
    """Return the JSON that a command printed on stdout."""
    return json.loads(result.stdout)

"""The real app and engine, in a folder of their own, for benchmarks and end-to-end tests.

    with running_app(home) as app:
        client = OpenAI(base_url=f"{app.url}/v1", api_key=app.key)

The engine's environment is taken from the default home folder (`keepstone engine install`), since making it takes
minutes; models are fetched into the new folder.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from keepstone.platform.errors import EngineUnavailable, KeepstoneError
from keepstone.platform.serving.install import installed_engine
from keepstone.platform.settings import default_home

KEEPSTONE = Path(sys.executable).parent / "keepstone"
_ENGINE_HOME = default_home()
_START_TIMEOUT_S = 900
_COMMAND_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class App:
    """A Keepstone on this machine."""

    home: Path
    url: str
    engine_port: int
    environment: Mapping[str, str]
    key: str = ""
    """An API key with all scopes."""

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `keepstone ARGUMENTS` on it and return what it printed."""
        done = subprocess.run(
            [KEEPSTONE, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        if check and done.returncode:
            raise KeepstoneError(f"keepstone {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done

    def json(self, *arguments: str) -> Any:
        """Run `keepstone --json ARGUMENTS` and return what it printed."""
        return json.loads(self.run("--json", *arguments).stdout)

    def client(self) -> httpx.Client:
        """Return a client of its API."""
        return httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=300, trust_env=False
        )


def prepared_app(home: Path, *, engine: bool = True, **settings: str) -> App:
    """Return an app that does not run yet.

    Args:
        home: its folder.
        engine: whether it has a language model.
        settings: further settings, `section__name="value"`.

    Raises:
        EngineUnavailable: the engine's environment is not installed.
    """
    port, engine_port = free_ports(2)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEEPSTONE_")}
    environment |= {
        "KEEPSTONE_HOME": str(home),
        "KEEPSTONE_APP__PORT": str(port),
        "KEEPSTONE_ENGINE__PORT": str(engine_port),
        "KEEPSTONE_ENGINE__MODE": "managed" if engine else "off",
        **{f"KEEPSTONE_{name.upper()}": value for name, value in settings.items()},
    }
    if engine:
        installed = installed_engine(_ENGINE_HOME)
        if installed is None:
            raise EngineUnavailable("vLLM is not installed", fix="Run `.venv/bin/keepstone engine install`")
        environment["KEEPSTONE_ENGINE__PYTHON"] = str(installed.python)
    return App(home, f"http://127.0.0.1:{port}", engine_port, environment)


@contextmanager
def running_app(home: Path, *, engine: bool = True, wait: bool = True, **settings: str) -> Iterator[App]:
    """Start the app, wait until it (and the engine) answers, and stop it at the end."""
    app = prepared_app(home, engine=engine, **settings)
    try:
        app.run("up", "--detach", "--no-browser", *([] if wait else ["--no-wait"]))
        yield with_key(app)
    finally:
        app.run("down", check=False)


def with_key(app: App) -> App:
    """Return the app with an API key of its administrator."""
    made = app.json("keys", "create", "--name", "bench")
    return App(app.home, app.url, app.engine_port, app.environment, key=made["secret"])


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that nobody listens on at the moment."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports

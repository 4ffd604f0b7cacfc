"""Of all that Gradio serves, only what the pages need can be reached, and pages carry a policy that stops strays."""

from __future__ import annotations

import re
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.types import Receive, Scope, Send

from keepstone.ui.runtime import Runtime
from keepstone.ui.web import mount
from tests.stack import admin


@pytest.fixture(scope="module")
def app(runtime: Runtime) -> FastAPI:
    """Return the pages behind a gate that lets in whoever sends the header."""
    principal = admin(runtime)
    app = FastAPI()

    class Gate:
        def __init__(self, inner: FastAPI) -> None:
            self._inner = inner

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                known = Request(scope).headers.get("x-known")
                scopes = frozenset(known.split("+") if known else ())
                Request(scope).state.principal = replace(principal, scopes=scopes) if known else None
            await self._inner(scope, receive, send)

    app.add_middleware(Gate)
    mount(app, runtime)
    return app


def client(app: FastAPI, *, known: bool = True) -> httpx.AsyncClient:
    headers = {"x-known": "read+write+admin"} if known else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://testserver", headers=headers)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=https://example.com/x",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=https://example.com",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/deep_link?session_hash=x",
        "/gradio_api/runs",
        "/gradio_api/dev/reload",
        "/gradio_api/custom_component/a/client/b/c",
        "/gradio_api/stream/a/b/1/playlist-file",
        "/monitoring",
        "/monitoring/summary",
        "/logout",
        "/static/../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/manifest.json",
    ],
)
async def test_gradios_other_routes_do_not_exist(app: FastAPI, path: str) -> None:
    async with client(app) as http:
        response = await http.get(path)
    assert response.status_code == 404
    assert "root:" not in response.text


@pytest.mark.parametrize("path", ["/login", "/gradio_api/run/predict", "/gradio_api/api/x", "/gradio_api/call/x"])
async def test_gradios_other_ways_to_call_do_not_exist(app: FastAPI, path: str) -> None:
    async with client(app) as http:
        assert (await http.post(path, json={"data": []})).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_do_not_exist(app: FastAPI, method: str) -> None:
    async with client(app) as http:
        assert (await http.request(method, "/")).status_code == 404


async def test_strangers_get_nothing_of_the_pages(app: FastAPI) -> None:
    async with client(app, known=False) as http:
        assert (await http.get("/")).status_code == 401
        assert (await http.get("/config")).status_code == 401
        body = {"data": [], "fn_index": 0, "session_hash": "x"}
        assert (await http.post("/gradio_api/queue/join", json=body)).status_code == 401
        assert (await http.post("/gradio_api/upload", files={"files": b"x"})).status_code == 401


async def test_only_who_may_write_sends_files(app: FastAPI, runtime: Runtime) -> None:
    """What is sent fills the disk before any handler asks where it is to go."""
    uploads = runtime.settings.home / "uploads"
    async with client(app) as http:
        assert (await http.post("/gradio_api/upload", files={"files": b"x"})).status_code == 200
        assert (await http.get("/", headers={"x-known": "read"})).status_code == 200
        there = len(list(uploads.iterdir()))
        for path in ("/gradio_api/upload", "/gradio_api/upload/"):
            refused = await http.post(path, files={"files": b"another"}, headers={"x-known": "read"})
            assert refused.status_code == 403
    assert len(list(uploads.iterdir())) == there


async def test_only_scripts_of_the_page_itself_may_run(app: FastAPI) -> None:
    async with client(app) as http:
        response = await http.get("/")
        again = await http.get("/")
    policy = response.headers["content-security-policy"]
    nonce = re.search(r"script-src 'self' 'nonce-([\w-]+)'", policy)
    assert nonce is not None
    tags = re.findall(r"<script[^>]*>", response.text)
    assert tags
    assert all(f'nonce="{nonce.group(1)}"' in tag for tag in tags)
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    assert nonce.group(1) not in again.text
    assert response.headers["cache-control"] == "no-store"


async def test_the_page_names_no_other_server_and_sends_no_telemetry(app: FastAPI) -> None:
    async with client(app) as http:
        page = (await http.get("/")).text
        config = (await http.get("/config")).json()
    loaded = re.findall(r'(?:src|href|content)="(https?://[^"]+)"', page)
    assert loaded == []
    assert config["analytics_enabled"] is False
    assert config["title"] == "Keepstone"
    assert config["footer_links"] == []
    assert config["stylesheets"] == []


async def test_no_handler_can_be_called_as_an_api(app: FastAPI) -> None:
    async with client(app) as http:
        dependencies = (await http.get("/config")).json()["dependencies"]
    named = [each["api_name"] for each in dependencies if each["backend_fn"]]
    assert all(each["api_visibility"] == "private" for each in dependencies if each["backend_fn"]), named


async def test_the_pages_own_files_are_served(app: FastAPI) -> None:
    async with client(app) as http:
        assert (await http.get("/theme.css")).status_code == 200
        icon = await http.get("/favicon.ico")
    assert "<svg" in icon.text


async def test_what_is_not_there_is_told_in_the_shape_of_the_api(app: FastAPI) -> None:
    """Unknown paths under /v1, and known ones by another method, end here: clients read one shape of error."""
    async with client(app) as http:
        told = (await http.delete("/v1/models")).json()["error"]
    assert told["message"] == "No such path: DELETE /v1/models"
    assert (told["code"], told["type"]) == ("not_found", "not_found_error")
    assert "openapi.json" in told["fix"]

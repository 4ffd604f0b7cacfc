"""Addresses over HTTP: a page becomes a document, a sitemap a list, and this machine stays out of reach."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from keepstone.ui.http.app import create_app
from keepstone.ui.runtime import Runtime
from tests.retrieval.loaders.samples import zip_of
from tests.stack import WAIT_S, open_stack
from tests.ui.served import client_of, key_of
from tests.web_server import Reply, WebServer, web_server

_REPLIES = {
    "/guide": Reply(b"<html><body><h1>Pump</h1><p>Clean the filter.</p></body></html>", {"Content-Type": "text/html"}),
    "/docs.zip": Reply(zip_of({"a.md": b"# A", "b.md": b"# B"})),
    "/sitemap.xml": Reply(b"<urlset><url><loc>{root}/guide</loc></url><url><loc>{root}/gone</loc></url></urlset>"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with web_server(_REPLIES) as running:
        yield running


@pytest.fixture(scope="module", params=[("127.0.0.1",), ()], ids=["allowed", "refused"])
def runtime(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with open_stack(tmp_path_factory.mktemp("home"), fetch={"allowed_networks": request.param}) as runtime:
        yield runtime


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(runtime, web=False), key_of(runtime)) as client:
        await client.post("/v1/collections", json={"name": "docs"})
        yield client


async def _post(client: httpx.AsyncClient, body: Any) -> tuple[int, Any]:
    response = await client.post("/v1/collections/docs/documents", json=body)
    return response.status_code, response.json()


async def test_pages_archives_and_sitemaps(client: httpx.AsyncClient, runtime: Runtime, server: WebServer) -> None:
    allowed = bool(runtime.settings.fetch.allowed_networks)
    before = len(server.asked)
    status, answer = await _post(client, {"url": f"{server.root}/guide"})
    if not allowed:
        assert (status, answer["error"]["code"], len(server.asked)) == (403, "forbidden", before)
        return
    assert status == 202
    runtime.jobs.wait(answer["job_id"], WAIT_S)
    listed = (await client.get("/v1/collections/docs/documents")).json()["data"]
    assert [(each["name"], each["state"], each["title"]) for each in listed] == [
        (f"127.0.0.1:{server.port}/guide.html", "ready", "Pump")
    ]
    _, again = await _post(client, {"url": f"{server.root}/guide"})
    assert [each["outcome"] for each in again["files"]] == ["unchanged"]
    _, archive = await _post(client, {"url": f"{server.root}/docs.zip"})
    assert [each["outcome"] for each in archive["files"]] == ["queued", "queued"]
    status, sitemap = await _post(client, {"url": f"{server.root}/sitemap.xml"})
    assert (status, sitemap) == (
        200,
        {"files": [], "job_id": None, "pages": [f"{server.root}/guide", f"{server.root}/gone"], "left_out": 0},
    )
    status, missing = await _post(client, {"url": sitemap["pages"][1]})
    assert (status, missing["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("body", [{}, {"url": 1}, {"url": "x", "more": 1}, [], "x", {"url": "file:///etc/passwd"}])
async def test_bodies_without_an_address_say_what_to_send(client: httpx.AsyncClient, body: Any) -> None:
    status, answer = await _post(client, body)
    assert (status, answer["error"]["code"]) == (400, "invalid_input")
    assert "https://" in answer["error"]["message"] + str(answer["error"].get("fix"))


async def test_who_may_not_write_makes_nothing_be_fetched(runtime: Runtime, server: WebServer) -> None:
    async with client_of(create_app(runtime, web=False), key_of(runtime, "reader", ["read"])) as client:
        before = len(server.asked)
        status, _ = await _post(client, {"url": f"{server.root}/guide"})
        assert status in (403, 404)
        assert len(server.asked) == before

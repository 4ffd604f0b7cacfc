"""What load balancers and Prometheus ask, and who is told how much."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

from keepstone.platform.serving.scripted import ScriptedEngine
from tests.ui.served import client_of

ELSEWHERE = {"x-forwarded-for": "10.0.0.9"}


async def test_alive_and_ready_need_no_credential(app: FastAPI) -> None:
    async with client_of(app) as client:
        assert (await client.get("/healthz", headers=ELSEWHERE)).json() == {"status": "ok"}
        ready = await client.get("/readyz", headers=ELSEWHERE)
        assert ready.status_code == 200
        assert set(ready.json()["checks"]) == {"database", "indexes", "engine"}


async def test_without_its_engine_it_is_alive_but_not_ready(app: FastAPI, engine: ScriptedEngine) -> None:
    engine.available = False
    try:
        async with client_of(app) as client:
            assert (await client.get("/healthz")).status_code == 200
            near = await client.get("/readyz")
            assert near.status_code == 503
            assert near.json()["checks"]["engine"]["reason"]
            assert near.json()["checks"]["database"] == {"ready": True}
            far = await client.get("/readyz", headers=ELSEWHERE)
            assert far.json()["checks"]["engine"] == {"ready": False}
    finally:
        engine.available = True


async def test_figures_are_for_this_machine_and_for_those_with_a_key(app: FastAPI, client: httpx.AsyncClient) -> None:
    assert (await client.get("/metrics", headers=ELSEWHERE)).status_code == 200
    async with client_of(app) as nobody:
        assert (await nobody.get("/metrics")).text.startswith("# HELP keepstone_")
        assert (await nobody.get("/metrics", headers=ELSEWHERE)).status_code == 401
        assert (await nobody.get("/metrics", headers={"host": "192.168.1.5"})).status_code == 401


async def test_requests_are_counted_by_route_and_not_by_path(client: httpx.AsyncClient) -> None:
    """A label for each path that somebody tries would fill the memory."""
    await client.get("/v1/collections/no-such-collection")
    await client.get("/v1/no-such-route")
    figures = (await client.get("/metrics")).text
    assert 'keepstone_http_request_seconds_count{method="GET",route="/v1/collections/{name}",status="404"}' in figures
    assert "no-such" not in figures


async def test_a_request_keeps_the_id_that_its_client_chose(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz", headers={"x-request-id": "trace-7"})
    assert answer.headers["x-request-id"] == "trace-7"
    garbling = await client.get("/healthz", headers={"x-request-id": "a b\tc"})
    assert garbling.headers["x-request-id"] != "a b\tc"

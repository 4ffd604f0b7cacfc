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

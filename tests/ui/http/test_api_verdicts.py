"""Verdicts over HTTP: administrators order them, owners read them."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from keepstone.training.evaluate import Case
from keepstone.training.evaluate.bootstrap import Pair
from keepstone.training.evaluate.gate import decide
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest
from tests.ui.served import client_of, key_of


@pytest.fixture
def verdict_id(runtime: Runtime) -> str:
    """Return the id of a verdict that was passed on a collection."""
    me = admin(runtime)
    ingest(runtime, me, "judged", {"w.md": b"The warranty lasts two years."})
    case = Case(
        collection_id=runtime.library.collection(me, "judged").id,
        dataset="judged-01234567",
        subject="encoder",
        live="usual@1",
        candidate="sharp@1",
        goal="search",
    )
    pairs = [Pair(f"doc-{place // 4}", 0.5, 0.75) for place in range(40)]
    return runtime.verdicts.add("job_1", case, decide("search", {"ndcg@10": pairs})).id


async def test_a_verdict_is_listed_and_shown_to_who_owns_the_collection(
    app: FastAPI, client: httpx.AsyncClient, runtime: Runtime, verdict_id: str
) -> None:
    shown = (await client.get(f"/v1/verdicts/{verdict_id}")).json()
    assert (shown["outcome"], shown["collection"], shown["candidate"]) == ("promote", "judged", "sharp@1")
    [figure] = shown["figures"]
    assert (figure["title"], figure["change"], figure["low"], figure["documents"]) == ("nDCG@10", 0.25, 0.25, 10)
    assert (await client.get("/v1/verdicts/job_1")).json() == shown
    assert (await client.get("/v1/verdicts", params={"collection": "judged"})).json()["data"] == [shown]
    async with client_of(app, key_of(runtime, "curious")) as curious:
        assert (await curious.get("/v1/verdicts")).json()["data"] == []
        assert (await curious.get(f"/v1/verdicts/{verdict_id}")).status_code == 404
        assert (await curious.get("/v1/verdicts", params={"collection": "judged"})).status_code == 404


async def test_only_administrators_order_a_judging(app: FastAPI, client: httpx.AsyncClient, runtime: Runtime) -> None:
    order = {"candidate": "sharp", "dataset": "nothing"}
    async with client_of(app, key_of(runtime, "eager")) as eager:
        for path in ("/v1/verdicts", "/v1/verdicts/plan"):
            assert (await eager.post(path, json=order)).status_code == 403
    assert (await client.post("/v1/verdicts", json=order)).status_code == 404
    assert (await client.post("/v1/verdicts", json={"candidate": "sharp"})).status_code == 400

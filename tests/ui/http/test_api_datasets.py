"""Datasets over HTTP, and the feedback that goes into them."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, admin, ingest
from tests.training.data.handbooks import handbooks
from tests.ui.served import client_of, key_of

QUESTION = {"messages": [{"role": "user", "content": "How long does the warranty last?"}]}


async def test_a_dataset_is_ordered_built_shown_and_deleted(
    app: FastAPI, client: httpx.AsyncClient, runtime: Runtime
) -> None:
    ingest(runtime, admin(runtime), "Handbooks", handbooks(20))
    order = {"collection": "Handbooks", "source": "sentences", "passages": 60}
    job = (await client.post("/v1/datasets", json=order)).json()
    assert runtime.jobs.wait(job["id"], WAIT_S).error is None
    [built] = (await client.get("/v1/datasets")).json()["data"]
    assert (built["job"], built["card"]["name"], built["card"]["collection"]) == (job["id"], "handbooks", "Handbooks")
    assert (await client.get("/v1/datasets/handbooks")).json() == built
    async with client_of(app, key_of(runtime, "nosy")) as nosy:
        assert (await nosy.post("/v1/datasets", json=order)).status_code == 404
        assert (await nosy.get("/v1/datasets")).json()["data"] == []
        assert (await nosy.delete("/v1/datasets/handbooks")).status_code == 404
    assert built["folder"].endswith(built["id"])
    async with client_of(app, key_of(runtime, "owen")) as owen:
        runtime.library.grant(admin(runtime), "Handbooks", "owen", "owner")
        seen = (await owen.get("/v1/datasets/handbooks")).json()
        assert seen == {**built, "folder": None}, "paths of the machine are for administrators"
    assert (await client.delete(f"/v1/datasets/{built['id']}")).status_code == 204
    assert (await client.get("/v1/datasets/handbooks")).status_code == 404


async def test_a_wrong_order_is_refused_with_the_fix(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/datasets", json={"collection": "nowhere"})).status_code == 404
    for wrong in ({"name": "../up"}, {"passages": 0}, {"test_share": 1}, {"seed": -1}, {"colour": "red"}):
        response = await client.post("/v1/datasets", json={"collection": "nowhere", **wrong})
        assert response.status_code == 400
        assert response.json()["error"]["message"]


async def test_without_the_model_that_writes_the_questions_nothing_is_begun(
    client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    engine.available = False
    try:
        response = await client.post("/v1/datasets", json={"collection": "nowhere", "source": "written"})
    finally:
        engine.available = True
    assert response.status_code == 503
    assert "--source sentences" in response.json()["error"]["fix"]


async def test_a_correction_and_passages_are_kept_and_checked(client: httpx.AsyncClient, runtime: Runtime) -> None:
    from keepstone.platform.database.tables import FeedbackRow

    ingest(runtime, admin(runtime), "corrected", {"w.md": b"The warranty lasts two years."})
    answer = (await client.post("/v1/chat/completions", json={"model": "corrected", **QUESTION})).json()
    path = f"/v1/answers/{answer['keepstone']['answer_id']}/feedback"
    body = {"rating": -1, "correction": "Two\u0000 years.", "relevant": [1, 1]}
    assert (await client.put(path, json=body)).status_code == 204
    with runtime.database.reading() as session:
        [row] = session.query(FeedbackRow).filter_by(answer_id=answer["keepstone"]["answer_id"])
        assert (row.correction, row.relevant, row.irrelevant) == ("Two years.", [1], [])
    for wrong in ({"relevant": [7]}, {"relevant": [1], "irrelevant": [1]}, {"correction": "x" * 10_001}):
        refused = await client.put(path, json={"rating": -1, **wrong})
        assert refused.status_code == 400
        assert refused.json()["error"]["fix"]

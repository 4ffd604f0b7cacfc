"""Collections, grants, conversations, feedback, keys, models, jobs and status."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, admin, ingest
from tests.ui.served import client_of, key_of

QUESTION = {"messages": [{"role": "user", "content": "How long does the warranty last?"}]}


async def test_a_collection_is_made_read_granted_and_deleted(
    app: FastAPI, client: httpx.AsyncClient, runtime: Runtime
) -> None:
    made = await client.post("/v1/collections", json={"name": "Ordner 1", "description": "Everything"})
    assert made.status_code == 201
    assert (await client.post("/v1/collections", json={"name": "Ordner 1"})).status_code == 409
    assert (await client.post("/v1/collections", json={"name": "../etc"})).status_code == 400
    assert (await client.get("/v1/collections/Ordner%201")).json()["description"] == "Everything"
    friend = key_of(runtime, "friend")
    async with client_of(app, friend) as theirs:
        assert (await theirs.get("/v1/collections/Ordner 1")).status_code == 404
        grant = {"principal": "friend", "role": "writer"}
        assert (await client.put("/v1/collections/Ordner 1/grants", json=grant)).status_code == 204
        assert (await theirs.get("/v1/collections/Ordner 1")).json()["can_write"] is True
        assert (await client.delete("/v1/collections/Ordner 1/grants/friend")).status_code == 204
        assert (await theirs.get("/v1/collections/Ordner 1")).status_code == 404
    wrong = await client.put("/v1/collections/Ordner 1/grants", json={"principal": "friend", "role": "king"})
    assert "reader" in wrong.json()["error"]["fix"]
    assert (await client.delete("/v1/collections/Ordner 1")).status_code == 204
    assert (await client.get("/v1/collections/Ordner 1")).status_code == 404


async def test_a_collection_has_its_own_way_of_cutting(client: httpx.AsyncClient, runtime: Runtime) -> None:
    small = {"chunker": "tokens", "max_tokens": 40}
    made = (await client.post("/v1/collections", json={"name": "cut", "chunking": small})).json()
    assert made["own_chunking"]
    assert made["chunking"].items() >= small.items()
    ingest(runtime, admin(runtime), "cut", {"a.txt": b"The lamp lasts 900 hours. " * 40})
    changed = await client.put("/v1/collections/cut/chunking", json={"chunker": "recursive"})
    assert changed.status_code == 202
    [job] = changed.json()["jobs"]
    assert runtime.jobs.wait(job, WAIT_S).state == "succeeded"
    assert (await client.get("/v1/collections/cut")).json()["chunking"]["chunker"] == "recursive"
    wrong = await client.put("/v1/collections/cut/chunking", json={"chunker": "axe"})
    assert wrong.status_code == 400
    assert "recursive" in wrong.json()["error"]["message"]


async def test_an_answer_keeps_its_provenance_and_takes_one_rating(
    app: FastAPI, client: httpx.AsyncClient, runtime: Runtime
) -> None:
    ingest(runtime, admin(runtime), "rated", {"w.md": b"The warranty lasts two years."})
    answer = (await client.post("/v1/chat/completions", json={"model": "rated", **QUESTION})).json()
    answer_id = answer["keepstone"]["answer_id"]
    record = (await client.get(f"/v1/answers/{answer_id}")).json()
    assert record["question"] == QUESTION["messages"][0]["content"]
    assert record["versions"]["encoder"] == runtime.encoder.version
    for rating in (1, -1, 0):
        rated = await client.put(f"/v1/answers/{answer_id}/feedback", json={"rating": rating, "comment": "so"})
        assert rated.status_code == 204
    assert (await client.put(f"/v1/answers/{answer_id}/feedback", json={"rating": 5})).status_code == 400
    async with client_of(app, key_of(runtime, "stranger")) as stranger:
        assert (await stranger.get(f"/v1/answers/{answer_id}")).status_code == 404


async def test_conversations_are_listed_read_and_deleted(client: httpx.AsyncClient, runtime: Runtime) -> None:
    info = runtime.conversations.start(admin(runtime), None, "A question?")
    runtime.conversations.append(admin(runtime), info.id, "user", "A question?")
    assert info.id in [each["id"] for each in (await client.get("/v1/conversations")).json()["data"]]
    messages = (await client.get(f"/v1/conversations/{info.id}/messages")).json()["data"]
    assert [each["content"] for each in messages] == ["A question?"]
    assert (await client.delete(f"/v1/conversations/{info.id}")).status_code == 204
    assert (await client.get(f"/v1/conversations/{info.id}/messages")).status_code == 404


async def test_a_key_is_shown_once_works_and_is_revoked(app: FastAPI, client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/keys", json={"name": "laptop", "for": "nora", "scopes": ["read"], "days": 7})
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert made.json()["expires_at"]
    async with client_of(app, secret) as nora:
        assert (await nora.get("/v1/status")).json()["principal"] == "nora"
        listed = (await nora.get("/v1/keys")).json()["data"]
        assert [(each["name"], each["owner"], each["scopes"]) for each in listed] == [("laptop", "nora", ["read"])]
        assert secret not in str(listed)
        assert (await nora.get("/v1/keys", params={"everybody": True})).status_code == 403
        everybody = (await client.get("/v1/keys", params={"everybody": True})).json()["data"]
        assert made.json()["id"] in [each["id"] for each in everybody]
        assert (await client.delete(f"/v1/keys/{made.json()['id']}")).status_code == 204
        assert (await nora.get("/v1/status")).status_code == 401


async def test_a_key_reaches_no_further_than_its_maker(app: FastAPI, runtime: Runtime) -> None:
    async with client_of(app, key_of(runtime, "olga", ("read", "write"))) as olga:
        assert (await olga.post("/v1/keys", json={"scopes": ["admin"]})).status_code == 403
        assert (await olga.post("/v1/keys", json={"for": "admin"})).status_code == 403
        assert (await olga.post("/v1/keys", json={"scopes": ["everything"]})).status_code == 400
        own = await olga.post("/v1/keys", json={})
        assert own.json()["scopes"] == ["read", "write"]
        assert own.json()["owner"] == "olga"


async def test_a_key_works_no_longer_than_the_one_that_made_it(app: FastAPI, client: httpx.AsyncClient) -> None:
    short = (await client.post("/v1/keys", json={"for": "ines", "scopes": ["read", "write"], "days": 1})).json()
    async with client_of(app, short["secret"]) as ines:
        for wanted in ({}, {"days": 3650}):
            made = (await ines.post("/v1/keys", json=wanted)).json()
            assert made["expires_at"] is not None
            assert made["expires_at"] <= short["expires_at"]


async def test_a_key_without_the_scope_admin_revokes_only_its_owners(app: FastAPI, runtime: Runtime) -> None:
    """The local administrator's key for writing is no administrator's key."""
    with runtime.database.reading() as session:
        from keepstone.platform.database.tables import CredentialRow, PrincipalRow

        key_of(runtime, "victim")
        victim = session.query(PrincipalRow).filter_by(name="victim").one()
        key_id = session.query(CredentialRow).filter_by(principal_id=victim.id).one().id
    async with client_of(app, key_of(runtime, "admin", ("read", "write"))) as weak:
        assert (await weak.delete(f"/v1/keys/{key_id}")).status_code == 404
    async with client_of(app, key_of(runtime, "admin")) as strong:
        assert (await strong.delete(f"/v1/keys/{key_id}")).status_code == 204


async def test_models_are_known_and_recommended(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/registry/installed")).json()["data"] == []
    names = {each["name"] for each in (await client.get("/v1/registry/catalog")).json()["data"]}
    assert {"smollm2-135m-instruct", "all-minilm-l6-v2"} <= names
    recommended = (await client.get("/v1/registry/recommendation")).json()
    assert set(recommended["best"].values()) <= names
    for better in recommended["better"]:
        assert better["commands"][0] == f"keepstone models pull {better['name']}"


async def test_status_tells_what_there_is(client: httpx.AsyncClient, runtime: Runtime) -> None:
    ingest(runtime, admin(runtime), "counted", {"w.md": b"The warranty lasts two years."})
    status = (await client.get("/v1/status")).json()
    assert status["engine"]["state"] == "ready"
    counted = {"name": "counted", "documents": 1, "chunks": 1, "encoder": runtime.encoder.version}
    assert counted in status["collections"]
    assert status["jobs"] == []
    assert status["home"] == str(runtime.settings.home)


async def test_indexes_are_compared_with_the_database(client: httpx.AsyncClient, runtime: Runtime) -> None:
    ingest(runtime, admin(runtime), "compared", {"w.md": b"The warranty lasts two years."})
    report = (await client.get("/v1/indexes")).json()["collections"]["compared"]
    assert report["ok"] is True
    assert report["chunks"] == 1


async def test_an_engine_that_is_not_ours_is_not_restarted(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/engine/restart")).status_code == 409


@pytest.mark.parametrize("action", ["cancel", "retry"])
async def test_a_job_that_succeeded_is_neither_stopped_nor_run_again(
    client: httpx.AsyncClient, runtime: Runtime, action: str
) -> None:
    job = ingest(runtime, admin(runtime), f"done-{action}", {"w.md": b"The warranty lasts two years."})
    response = await client.post(f"/v1/jobs/{job.id}/{action}")
    assert response.status_code == (202 if action == "cancel" else 409)
    assert (await client.get(f"/v1/jobs/{job.id}")).json()["state"] == "succeeded"

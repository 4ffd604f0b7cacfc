"""Runs of the agent over HTTP: begun, told as events, listed, stopped and deleted."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest
from tests.ui.http.conftest import ANSWER
from tests.ui.served import client_of, key_of

READY = json.dumps({"thought": "I have it.", "answer": True})
QUESTION = {"question": "How long is the warranty?", "collections": ["agents"]}


@pytest.fixture(scope="module", autouse=True)
def _documents(runtime: Runtime, engine: ScriptedEngine) -> None:
    ingest(runtime, admin(runtime), "agents", {"warranty.md": b"# Warranty\n\nThe warranty lasts two years."})
    engine._default = lambda request: READY if request.json_schema else ANSWER


async def told(client: httpx.AsyncClient, **more: Any) -> list[dict[str, Any]]:
    answer = await client.post("/v1/agent/runs", json={**QUESTION, "stream": True, **more})
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_a_run_is_told_step_by_step(client: httpx.AsyncClient) -> None:
    events = await told(client)
    assert [each["type"] for each in events][:5] == ["started", "thought", "call", "observation", "thought"]
    assert events[2]["arguments"] == {"query": "How long is the warranty?"}
    assert "two years" in events[3]["text"]
    assert "".join(each["text"] for each in events if each["type"] == "text") == ANSWER
    last = events[-1]
    assert last["outcome"] == "answered"
    assert last["content"] == ANSWER
    assert last["keepstone"]["sources"][0]["document"] == "warranty.md"


async def test_a_run_can_be_looked_at_and_told_again(client: httpx.AsyncClient) -> None:
    run_id = (await told(client))[0]["run_id"]
    run = (await client.get(f"/v1/agent/runs/{run_id}")).json()
    assert run["state"] == "finished"
    assert run["ended"] == "model"
    assert run["answer"] == ANSWER
    assert run["steps"][0]["calls"][0]["tool"] == "search"
    assert (await client.get(f"/v1/answers/{run['answer_id']}")).json()["agent"]["run_id"] == run_id
    again = await client.get(f"/v1/agent/runs/{run_id}/events")
    assert '"outcome":"answered"' in again.text
    assert (await client.get("/v1/agent/runs", params={"limit": 1})).json()["data"][0]["id"] == run_id


async def test_a_run_goes_on_without_anybody_watching(client: httpx.AsyncClient, runtime: Runtime) -> None:
    begun = await client.post("/v1/agent/runs", json=QUESTION)
    assert begun.status_code == 202
    watched = await client.get(f"/v1/agent/runs/{begun.json()['id']}/events")
    assert '"type":"finished"' in watched.text


async def test_a_run_can_be_stopped_and_deleted(client: httpx.AsyncClient) -> None:
    begun = (await client.post("/v1/agent/runs", json=QUESTION)).json()
    assert (await client.post(f"/v1/agent/runs/{begun['id']}/cancel")).json()["state"] in ("cancelled", "finished")
    assert (await client.delete(f"/v1/agent/runs/{begun['id']}")).status_code == 204
    assert (await client.get(f"/v1/agent/runs/{begun['id']}")).status_code == 404


async def test_nobody_else_sees_it(client: httpx.AsyncClient, runtime: Runtime, app: Any) -> None:
    run_id = (await told(client))[0]["run_id"]
    async with client_of(app, key_of(runtime, "eve")) as eve:
        assert (await eve.get("/v1/agent/runs")).json()["data"] == []
        for path in ("", "/events"):
            assert (await eve.get(f"/v1/agent/runs/{run_id}{path}")).status_code == 404
        assert (await eve.post(f"/v1/agent/runs/{run_id}/cancel")).status_code == 404
        assert (await eve.delete(f"/v1/agent/runs/{run_id}")).status_code == 404
        assert (await eve.post("/v1/agent/runs", json=QUESTION)).status_code == 404


@pytest.mark.parametrize(
    "wrong", [{"question": " "}, {"question": "x", "collections": ["nothing"]}, {"question": "x", "max_steps": 0}, {}]
)
async def test_what_cannot_begin_is_refused_with_a_fix(client: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    refused = await client.post("/v1/agent/runs", json=wrong)
    assert refused.status_code in (400, 404, 422)
    assert refused.json()["error"]["fix"]

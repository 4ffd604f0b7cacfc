"""Judgements, evaluations and sweeps over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, admin, ingest
from tests.training.data.handbooks import handbooks


async def test_judgements_are_kept_measured_and_forgotten(client: httpx.AsyncClient, runtime: Runtime) -> None:
    ingest(runtime, admin(runtime), "measured", {"lamp.md": b"The lamp lasts 900 hours.", "fuse.md": b"A fuse blows."})
    given = [{"question": "How long does the lamp last?", "relevant": ["lamp.md"]}]
    path = "/v1/collections/measured"
    assert (await client.post(f"{path}/evaluation", json={})).status_code == 400

    async def measured(order: dict[str, Any]) -> Any:
        ordered = await client.post(f"{path}/evaluation", json=order)
        assert ordered.status_code == 202
        runtime.jobs.wait(ordered.json()["id"], WAIT_S)
        return (await client.get(f"/v1/evaluations/{ordered.json()['id']}")).json()

    report = await measured({"judgements": given, "k": 3})
    assert [each["name"] for each in report["figures"]] == ["ndcg@3", "mrr@3", "recall@3"]
    assert (await client.get(f"{path}/judgements")).json()["data"] == []
    assert (await client.post(f"{path}/judgements", json={"judgements": given})).json() == {"judgements": 1}
    assert (await client.get(f"{path}/judgements")).json()["data"][0]["question"] == given[0]["question"]
    assert (await measured({}))["questions"] == 1
    assert (await client.post(f"{path}/tuning", json={})).status_code == 400
    assert (await client.delete(f"{path}/judgements")).json() == {"judgements": 1}
    for wrong in ({"judgements": []}, {"judgements": [{"question": "?"}]}, {}):
        assert (await client.post(f"{path}/judgements", json=wrong)).status_code == 400


async def test_a_sweep_is_a_job_with_a_report(client: httpx.AsyncClient, runtime: Runtime) -> None:
    ingest(runtime, admin(runtime), "tuned", handbooks(10))
    names = [each.name for each in runtime.library.documents(admin(runtime), "tuned")]
    given = [{"question": f"What does {name} say?", "relevant": [name]} for name in names]
    await client.post("/v1/collections/tuned/judgements", json={"judgements": given})
    job = await client.post("/v1/collections/tuned/tuning", json={"k": 5, "adopt": True, "recut": False})
    assert job.status_code == 202
    job_id = job.json()["id"]
    runtime.jobs.wait(job_id, 3 * WAIT_S)
    report = (await client.get(f"/v1/tunings/{job_id}")).json()
    adopted = (await client.get("/v1/collections/tuned")).json()["adopted"]
    better = report["advice"] == "change"
    assert (adopted is not None) == better
    again = await client.post(f"/v1/tunings/{job_id}/adopt")
    assert again.status_code == (200 if better else 409)
    assert (await client.delete("/v1/collections/tuned/adopted")).status_code == (200 if better else 409)
    assert (await client.get("/v1/tunings/job_0")).status_code == 404

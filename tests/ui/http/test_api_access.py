"""Nothing is open, nobody sees what is another's, and a reading key changes nothing: for every route there is."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI

from keepstone.platform.database.tables import JobRow, JobState
from keepstone.ui.http.gate import PUBLIC_PATHS
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest
from tests.ui.served import client_of, key_of

# Routes that change nothing, or only what is the caller's own talk, although they are no GET.
_READING = {
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/search"),
    ("POST", "/v1/rerank"),
    ("DELETE", "/v1/conversations/{conversation_id}"),
    ("PUT", "/v1/answers/{answer_id}/feedback"),
    ("POST", "/v1/agent/runs"),
    ("POST", "/v1/agent/runs/{run_id}/cancel"),
    ("DELETE", "/v1/agent/runs/{run_id}"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/responses/{response_id}/cancel"),
    ("DELETE", "/v1/responses/{response_id}"),
}
_BODIES: dict[str, object] = {
    "/v1/chat/completions": {"model": "secret", "messages": [{"role": "user", "content": "Hello?"}]},
    "/v1/search": {"query": "warranty", "collections": ["secret"]},
    "/v1/collections": {"name": "new"},
    "/v1/collections/{name}/chunking": {"chunker": "recursive"},
    "/v1/collections/{name}/judgements": {"judgements": [{"question": "How long?", "relevant": ["a.md"]}]},
    "/v1/collections/{name}/evaluation": {"judgements": [{"question": "How long?", "relevant": ["a.md"]}]},
    "/v1/collections/{name}/tuning": {},
    "/v1/collections/{name}/sources": {"location": "/srv/secret"},
    "/v1/collections/{name}/grants": {"principal": "mallory", "role": "owner"},
    "/v1/answers/{answer_id}/feedback": {"rating": 1},
    "/v1/datasets": {"collection": "secret"},
    "/v1/keys": {"for": "admin"},
    "/v1/models/promotions": {"model": "secret"},
    "/v1/models/promotions/rollback": {"collection": "secret"},
    "/v1/verdicts": {"candidate": "secret", "dataset": "secret"},
    "/v1/verdicts/plan": {"candidate": "secret", "dataset": "secret"},
    "/v1/improvements": {"collection": "secret"},
    "/v1/improvements/plan": {"collection": "secret"},
    "/v1/runs": {"recipe": "embedding", "dataset": "secret"},
    "/v1/runs/plan": {"recipe": "embedding", "dataset": "secret"},
}


def _routes(app: FastAPI) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, item in app.openapi()["paths"].items() for method in item]


@pytest.fixture(scope="module")
def secrets_of_admin(runtime: Runtime) -> dict[str, str]:
    """Make one of everything for the administrator, and return the ids by the name of the path's parameter."""
    principal = admin(runtime)
    job = ingest(runtime, principal, "secret", {"a.md": b"# Warranty\n\nIt lasts two years."})
    conversation = runtime.conversations.start(principal, "secret", "How long?")
    return {
        "name": "secret",
        "document_id": runtime.library.documents(principal, "secret")[0].id,
        "job_id": job.id,
        "conversation_id": conversation.id,
        "answer_id": "ans_0",
        "key_id": "key_0",
        "run_id": "run_0",
        "improvement_id": "job_0",
        "response_id": "resp_0",
        "reference": "dataset-00000000",
        "whom": "admin",
        "source": "src_0",
    }


def _filled(path: str, ids: dict[str, str]) -> str:
    filled = re.sub(r"\{(\w+)(?::path)?\}", lambda found: ids[found[1]], path)
    return f"{filled}?start=0&end=5" if path.endswith("/passage") else filled


async def test_without_a_credential_every_route_is_401_and_names_the_fix(
    app: FastAPI, secrets_of_admin: dict[str, str]
) -> None:
    async with client_of(app) as client:
        for method, path in _routes(app):
            # Metrics are open to this machine only, so ask from another.
            response = await client.request(
                method, _filled(path, secrets_of_admin), headers={"x-forwarded-for": "10.0.0.9"}
            )
            if path in PUBLIC_PATHS:
                continue
            assert response.status_code == 401, (method, path)
            error = response.json()["error"]
            assert error["type"] == "authentication_error"
            assert "keepstone keys create" in error["fix"]
            assert response.headers["www-authenticate"].startswith("Bearer")


async def test_public_paths_are_few_and_known() -> None:
    assert {"/healthz", "/readyz", "/login", "/login.js", "/logout", "/favicon.ico"} == PUBLIC_PATHS


async def test_a_foreign_principal_finds_none_of_anothers_objects(
    app: FastAPI, runtime: Runtime, secrets_of_admin: dict[str, str]
) -> None:
    """Every route that takes an object answers as if it did not exist: neither 403 nor 200.

    Runs of recipes and improvements are for administrators alone, which their routes say of all alike.
    """
    checked = 0
    async with client_of(app, key_of(runtime, "mallory", ("read", "write"))) as client:
        for method, path in _routes(app):
            names_an_object = "{" in path or path in ("/v1/search", "/v1/chat/completions")
            if not names_an_object:
                continue
            upload = {"files": [("files", ("a.md", b"x"))]} if method == "POST" and path.endswith("}/documents") else {}
            body = {} if upload or method in ("GET", "DELETE") else {"json": _BODIES.get(path)}
            response = await client.request(method, _filled(path, secrets_of_admin), **upload, **body)
            expected = 403 if path.startswith(("/v1/runs/", "/v1/improvements/")) else 404
            assert response.status_code == expected, (method, path, response.text)
            checked += 1
    assert checked >= 20


async def test_lists_show_a_foreign_principal_nothing(
    app: FastAPI, runtime: Runtime, secrets_of_admin: dict[str, str]
) -> None:
    assert secrets_of_admin
    async with client_of(app, key_of(runtime, "mallory", ("read", "write"))) as client:
        for path in ("/v1/collections", "/v1/jobs", "/v1/conversations", "/v1/datasets"):
            assert (await client.get(path)).json()["data"] == []
        hits = (await client.post("/v1/search", json={"query": "warranty"})).json()["hits"]
        assert hits == []
        status = (await client.get("/v1/status")).json()
        assert status["collections"] == []
        assert status["jobs"] == []
        assert "home" not in status
        models = {each["id"] for each in (await client.get("/v1/models")).json()["data"]}
        assert "secret" not in models


async def test_a_reading_key_changes_nothing(app: FastAPI, runtime: Runtime, secrets_of_admin: dict[str, str]) -> None:
    """Even the administrator's: the scopes of the credential bound what its owner may."""
    async with client_of(app, key_of(runtime, "admin", ("read",))) as client:
        for method, path in _routes(app):
            if method == "GET" or (method, path) in _READING:
                continue
            upload = {"files": [("files", ("a.md", b"x"))]} if path.endswith("}/documents") else {}
            body = {} if upload or method == "DELETE" else {"json": _BODIES.get(path)}
            response = await client.request(method, _filled(path, secrets_of_admin), **upload, **body)
            assert response.status_code == 403, (method, path, response.text)
    assert runtime.library.collection(admin(runtime), "secret").documents == 1


async def test_a_reader_may_read_but_not_write_or_own(
    app: FastAPI, runtime: Runtime, secrets_of_admin: dict[str, str]
) -> None:
    document = secrets_of_admin["document_id"]
    key = key_of(runtime, "rita", ("read", "write"))
    runtime.library.grant(admin(runtime), "secret", "rita", "reader")
    async with client_of(app, key) as client:
        assert (await client.get(f"/v1/documents/{document}/text")).status_code == 200
        assert (await client.get(f"/v1/documents/{document}/original")).status_code == 200
        assert (await client.delete(f"/v1/documents/{document}")).status_code == 403
        assert (await client.delete("/v1/collections/secret")).status_code == 403
        job = secrets_of_admin["job_id"]
        assert (await client.get(f"/v1/jobs/{job}/documents")).status_code == 200
        assert (await client.post(f"/v1/jobs/{job}/cancel")).status_code == 403
        runtime.library.revoke(admin(runtime), "secret", "rita")
        assert (await client.get(f"/v1/documents/{document}/text")).status_code == 404


async def test_only_administrators_restart_the_engine_verify_indexes_and_make_login_links(
    app: FastAPI, runtime: Runtime
) -> None:
    async with client_of(app, key_of(runtime, "mallory")) as client:
        assert (await client.post("/v1/engine/restart")).status_code == 403
        assert (await client.get("/v1/indexes")).status_code == 403
        assert (await client.post("/v1/login-links")).status_code == 403


async def test_a_writer_does_not_stop_or_repeat_what_acts_for_somebody_else(
    app: FastAPI, runtime: Runtime, secrets_of_admin: dict[str, str]
) -> None:
    """Once more, a job does what the one who ordered it may do: a promotion is not a writer's to order."""
    owner, key = admin(runtime), key_of(runtime, "walt", ("read", "write"))
    runtime.library.grant(owner, "secret", "walt", "writer")
    collection_id = runtime.library.collection(owner, "secret").id
    with runtime.database.transaction() as session:
        args = {"order": {}, "scopes": ["admin", "read", "write"]}
        session.add(
            JobRow(
                id="job_acts", kind="of-nobody", args=args, principal_id=owner.id, collection_id=collection_id,
                state=JobState.FAILED,
            )
        )  # fmt: skip
    async with client_of(app, key) as client:
        assert (await client.get("/v1/jobs/job_acts")).status_code == 200
        assert (await client.post("/v1/jobs/job_acts/retry")).status_code == 403
        assert (await client.post("/v1/jobs/job_acts/cancel")).status_code == 403
        # Reading documents is what writers do themselves.
        assert (await client.post(f"/v1/jobs/{secrets_of_admin['job_id']}/cancel")).status_code == 202
    async with client_of(app, key_of(runtime, "admin", ("read", "write"))) as client:
        assert (await client.post("/v1/jobs/job_acts/retry")).status_code == 403
    assert runtime.jobs.get("job_acts").state == JobState.FAILED

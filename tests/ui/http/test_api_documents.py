"""Documents over HTTP: each file its own outcome, originals that browsers cannot run, passages, deletion, retries."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepstone.platform.database.tables import JobState
from keepstone.ui.runtime import Runtime
from tests.retrieval.loaders.samples import lines, pdf_file, zip_of
from tests.stack import WAIT_S, admin, ingest
from tests.ui.served import client_of, key_of

GUIDE = "# Guide\n\nThe lamp is green 🟢 when it is on.\n\n## Care\n\nDust it weekly, 每周一次。\n"


async def _upload(client: httpx.AsyncClient, runtime: Runtime, collection: str, files: dict[str, bytes]) -> Any:
    """Hand files in, wait until they are read, and return the answer."""
    if (await client.get(f"/v1/collections/{collection}")).status_code == 404:
        await client.post("/v1/collections", json={"name": collection})
    parts = [("files", (name, data)) for name, data in files.items()]
    response = await client.post(f"/v1/collections/{collection}/documents", files=parts)
    answer = response.json()
    assert response.status_code == (202 if answer["job_id"] else 200)
    if answer["job_id"]:
        runtime.jobs.wait(answer["job_id"], WAIT_S)
    return answer


async def test_each_file_has_its_own_outcome(client: httpx.AsyncClient, runtime: Runtime) -> None:
    files = {"a/guide.md": GUIDE.encode(), "../../../etc/passwd": b"root", "../..": b"x", "big.txt": b"x" * 3_000_000}
    answer = await _upload(client, runtime, "outcomes", files)
    by_name = {each["name"]: each for each in answer["files"]}
    assert by_name["a/guide.md"]["outcome"] == "queued"
    assert by_name["../../../etc/passwd"]["document"]["name"] == "etc/passwd"
    bad = [each for each in answer["files"] if "error" in each]
    assert [each["error"]["code"] for each in bad] == ["invalid_input"]
    again = await _upload(client, runtime, "outcomes", {"a/guide.md": GUIDE.encode(), "copy.md": GUIDE.encode()})
    assert [each["outcome"] for each in again["files"]] == ["unchanged", "duplicate"]
    assert again["job_id"] is None


async def test_of_an_archive_each_member_has_its_own_outcome(client: httpx.AsyncClient, runtime: Runtime) -> None:
    packed = zip_of({"guide.md": GUIDE.encode(), "/etc/passwd": b"root"})
    answer = await _upload(client, runtime, "archives", {"docs.zip": packed, "loose.md": b"# Loose"})
    assert [each["name"] for each in answer["files"]] == ["docs.zip/guide.md", "docs.zip//etc/passwd", "loose.md"]
    assert "outcome" not in answer["files"][1]
    listed = (await client.get("/v1/collections/archives/documents")).json()["data"]
    assert [(each["name"], each["state"]) for each in listed] == [("docs.zip/guide.md", "ready"), ("loose.md", "ready")]


async def test_two_files_of_one_name_in_one_upload_do_not_overwrite_each_other(client: httpx.AsyncClient) -> None:
    await client.post("/v1/collections", json={"name": "twice"})
    parts = [("files", ("a/guide.md", b"# One")), ("files", ("a//guide.md", b"# Two"))]
    answer = (await client.post("/v1/collections/twice/documents", files=parts)).json()
    first, second = answer["files"]
    assert first["outcome"] == "queued"
    assert (second["error"]["code"], second["error"]["fix"]) == ("conflict", "Rename one of the two")


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
async def test_a_malformed_form_names_the_right_one(client: httpx.AsyncClient, kind: str) -> None:
    await client.post("/v1/collections", json={"name": "malformed"})
    path = "/v1/collections/malformed/documents"
    answer = await client.post(path, content=b"rubbish", headers={"content-type": kind})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_input"
    assert "multipart/form-data" in answer.json()["error"]["fix"]


async def test_the_job_counts_its_documents_and_names_those_that_failed(
    client: httpx.AsyncClient, runtime: Runtime
) -> None:
    answer = await _upload(client, runtime, "mixed", {"good.md": GUIDE.encode(), "empty.md": b""})
    job = (await client.get(f"/v1/jobs/{answer['job_id']}")).json()
    assert job["state"] == "succeeded"
    assert job["collection"] == "mixed"
    assert job["documents"] == {"ready": 1, "failed": 1}
    documents = (await client.get(f"/v1/jobs/{answer['job_id']}/documents")).json()["data"]
    assert {each["name"]: each["state"] for each in documents} == {"good.md": "ready", "empty.md": "failed"}
    failed = next(each for each in documents if each["state"] == "failed")
    assert "empty" in failed["error"]
    listed = (await client.get("/v1/jobs", params={"collection": "mixed"})).json()["data"]
    assert [each["id"] for each in listed] == [answer["job_id"]]


async def test_an_upload_without_files_is_refused(client: httpx.AsyncClient) -> None:
    await client.post("/v1/collections", json={"name": "bare"})
    path = "/v1/collections/bare/documents"
    for sent, lacks in (
        ({"data": {"files": "text"}}, "files"),
        ({"files": [("other", ("a.md", b"x"))]}, "files"),
        ({"json": {}}, "names no address"),
        ({}, "files"),
    ):
        response = await client.post(path, **sent)
        assert response.status_code == 400, sent
        assert lacks in response.json()["error"]["message"]


async def test_a_broken_form_is_refused(client: httpx.AsyncClient) -> None:
    await client.post("/v1/collections", json={"name": "broken"})
    headers = {"content-type": "multipart/form-data; boundary=x"}
    response = await client.post("/v1/collections/broken/documents", content=b"--x\r\nnonsense", headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_who_may_not_write_is_told_before_the_files_are_read(app: FastAPI, runtime: Runtime) -> None:
    runtime.library.create_collection(admin(runtime), "closed")
    key_of(runtime, "reader-of-closed")
    runtime.library.grant(admin(runtime), "closed", "reader-of-closed", "reader")
    consumed = 0

    async def body() -> Any:
        nonlocal consumed
        for _ in range(100):
            consumed += 1
            yield b"x" * 1000

    async with client_of(app, key_of(runtime, "reader-of-closed")) as client:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        response = await client.post("/v1/collections/closed/documents", content=body(), headers=headers)
    assert response.status_code == 403
    assert consumed <= 1


async def test_the_original_is_a_download_that_no_browser_runs(client: httpx.AsyncClient, runtime: Runtime) -> None:
    html = b"<html><body><script>alert(document.cookie)</script><p>Hello there, reader.</p></body></html>"
    name = 'pages/evil "quoted";\r\n页.html'
    answer = await _upload(client, runtime, "originals", {name: html})
    document = answer["files"][0]["document"]
    response = await client.get(f"/v1/documents/{document['id']}/original")
    assert response.content == html
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"].startswith("sandbox")
    disposition = response.headers["content-disposition"]
    assert disposition.startswith("attachment; filename*=utf-8''")
    assert unquote(disposition.partition("''")[2]) == document["name"].rpartition("/")[2]
    assert '"' not in disposition


async def test_a_passage_of_a_pdf_says_where_it_stands(client: httpx.AsyncClient, runtime: Runtime) -> None:
    """By its page and the boxes of its lines there, so that it can be marked in the original."""
    files = {"p.pdf": pdf_file([lines(["The first page is about pumps."]), lines(["The second one names fuses."])])}
    ingest(runtime, admin(runtime), "placed", files)
    [document] = runtime.library.documents(admin(runtime), "placed")
    text = runtime.library.document_text(admin(runtime), document.id).text
    start = text.index("fuses")
    query = {"start": start, "end": start + 5}
    passage = (await client.get(f"/v1/documents/{document.id}/passage", params=query)).json()
    [box] = passage["boxes"]
    assert box["page"] == passage["page"] == 2
    assert 0 < box["left"] < box["right"] < 1
    assert 0 < box["top"] < box["bottom"] < 1


async def test_text_and_passages_count_characters(client: httpx.AsyncClient, runtime: Runtime) -> None:
    answer = await _upload(client, runtime, "texts", {"guide.md": GUIDE.encode()})
    path = f"/v1/documents/{answer['files'][0]['document']['id']}"
    whole = (await client.get(f"{path}/text")).json()
    start = whole["text"].index("每周")
    query = {"start": start, "end": start + 4, "context": 6}
    passage = (await client.get(f"{path}/passage", params=query)).json()
    assert passage["text"] == "每周一次"
    assert passage["before"] == whole["text"][start - 6 : start]
    assert passage["after"] == whole["text"][start + 4 : start + 10]
    assert passage["headings"] == ["Guide", "Care"]
    assert whole["headings"][1]["title"] == "Care"


@pytest.mark.parametrize(("start", "end"), [(5, 5), (6, 5), (0, 10**9), (10**9, 10**9 + 1), (-1, 3)])
async def test_a_span_outside_the_text_is_refused(
    client: httpx.AsyncClient, runtime: Runtime, start: int, end: int
) -> None:
    answer = await _upload(client, runtime, "texts", {"guide.md": GUIDE.encode()})
    path = f"/v1/documents/{answer['files'][0]['document']['id']}/passage"
    assert (await client.get(path, params={"start": start, "end": end})).status_code == 400


async def test_a_deleted_document_is_gone_from_search_at_once(client: httpx.AsyncClient, runtime: Runtime) -> None:
    answer = await _upload(client, runtime, "deleting", {"guide.md": GUIDE.encode()})
    document = answer["files"][0]["document"]["id"]
    query = {"query": "lamp green", "collections": ["deleting"]}
    assert (await client.post("/v1/search", json=query)).json()["hits"]
    assert (await client.delete(f"/v1/documents/{document}")).json()["name"] == "guide.md"
    assert (await client.post("/v1/search", json=query)).json()["hits"] == []
    assert (await client.get(f"/v1/documents/{document}")).status_code == 404
    assert (await client.delete(f"/v1/documents/{document}")).status_code == 404


async def test_failed_documents_can_be_tried_again(client: httpx.AsyncClient, runtime: Runtime) -> None:
    answer = await _upload(client, runtime, "retrying", {"empty.md": b"", "good.md": GUIDE.encode()})
    empty, good = (each["document"]["id"] for each in answer["files"])
    once = await client.post(f"/v1/documents/{empty}/retry")
    assert once.status_code == 202
    assert once.json()["documents"] == [empty]
    assert runtime.jobs.wait(once.json()["job_id"], WAIT_S).state == JobState.SUCCEEDED
    refused = await client.post(f"/v1/documents/{good}/retry")
    assert refused.status_code == 409
    assert "ready" in refused.json()["error"]["message"]
    everything = await client.post("/v1/collections/retrying/retry")
    assert everything.json()["documents"] == [empty]
    runtime.jobs.wait(everything.json()["job_id"], WAIT_S)


async def test_lists_come_in_pages(client: httpx.AsyncClient, runtime: Runtime) -> None:
    files = {f"{number:02d}.md": f"# Page {number}\n\nSome words here.".encode() for number in range(5)}
    await _upload(client, runtime, "paged", files)
    path, seen, after = "/v1/collections/paged/documents", [], None
    while True:
        page = (await client.get(path, params={"limit": 2} | ({"after": after} if after else {}))).json()
        seen += [each["name"] for each in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert seen == sorted(files)


async def test_lists_are_narrowed_by_state_and_name(client: httpx.AsyncClient, runtime: Runtime) -> None:
    await _upload(client, runtime, "narrow", {"good.md": GUIDE.encode(), "bad.md": b"", "other.md": b"Other words."})
    path = "/v1/collections/narrow/documents"

    async def names(**query: Any) -> list[str]:
        return [each["name"] for each in (await client.get(path, params=query)).json()["data"]]

    assert await names(state="failed") == ["bad.md"]
    assert await names(state=["failed", "ready"]) == ["bad.md", "good.md", "other.md"]
    assert await names(containing="OO") == ["good.md"]
    assert (await client.get(path, params={"state": "lost"})).status_code == 400


@given(name=st.text(min_size=1, max_size=40))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_file_name_is_stored_safely_or_refused(
    client: httpx.AsyncClient, runtime: Runtime, name: str
) -> None:
    """Whatever a client calls its file, the server answers, and no stored name climbs out of its collection."""
    if (await client.get("/v1/collections/names")).status_code == 404:
        await client.post("/v1/collections", json={"name": "names"})
    try:
        parts = [("files", (name, name.encode()))]
    except UnicodeEncodeError:
        return
    response = await client.post("/v1/collections/names/documents", files=parts)
    assert response.status_code in (200, 202, 400)
    for each in response.json().get("files", ()):
        if "document" in each:
            stored = each["document"]["name"]
            assert not stored.startswith("/")
            assert ".." not in stored.split("/")
            assert stored.isprintable()

"""A Keepstone whose encoder is behind a URL: it finds documents while it answers, and says when it does not."""

from __future__ import annotations

from pathlib import Path

from fastapi import Response

from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoder_client import EmbeddingsClient
from keepstone.retrieval.url_encoder import UrlEncoder
from keepstone.ui.http.app import create_app
from tests.retrieval.embeddings_server import EmbeddingsServer
from tests.stack import admin, ingest, open_stack
from tests.ui.served import client_of, key_of


async def test_documents_are_found_with_it_and_its_absence_is_told(tmp_path: Path) -> None:
    with EmbeddingsServer(HashEncoder()).running() as server:
        encoder = UrlEncoder(EmbeddingsClient(server.url, model="bge-m3"), dimension=64, pauses_s=())
        with open_stack(tmp_path, encoder=encoder) as runtime:
            server.answers.append(Response(status_code=503))
            job = ingest(runtime, admin(runtime), "manual", {"a.md": b"The warranty lasts two years."})
            assert job.state == "succeeded"  # a busy server delays a job, which does not fail
            async with client_of(create_app(runtime, web=False), key_of(runtime)) as client:
                found = await client.post("/v1/search", json={"query": "How long is the warranty?"})
                assert found.json()["hits"][0]["text"] == "The warranty lasts two years."
                server.answers.extend(Response(status_code=503) for _ in range(3))
                assert (await client.get("/v1/status")).json()["encoder"]["message"].endswith("failed (HTTP 503)")
                refused = await client.post("/v1/search", json={"query": "How long is the warranty?"})
                assert refused.status_code == 503

"""`/v1/rerank` as the clients of Jina and Cohere speak it, and what `/v1/search` explains."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest
from tests.ui.served import client_of, key_of

_DOCUMENTS = ["The fuse is rated at 3 ampere.", "The lamp lasts 900 hours.", "Nothing."]
_ASKED: dict[str, Any] = {"model": "cosine", "query": "How long does the lamp last?", "documents": _DOCUMENTS}


@pytest.mark.parametrize("model", ["cosine", "late"])
async def test_jinas_shape(client: httpx.AsyncClient, model: str) -> None:
    """As langchain's JinaRerank and Jina's own examples read it."""
    response = await client.post("/v1/rerank", json=_ASKED | {"model": model, "top_n": 2, "return_documents": True})
    assert response.status_code == 200
    answer = response.json()
    assert answer["model"] == model
    assert answer["results"][0]["index"] == 1
    assert answer["results"][0]["document"] == {"text": _DOCUMENTS[1]}
    scores = [each["relevance_score"] for each in answer["results"]]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0


async def test_coheres_shape(client: httpx.AsyncClient) -> None:
    """Documents as objects, all of them returned, without their texts unless asked for."""
    documents = [{"text": text} for text in _DOCUMENTS]
    answer = (await client.post("/v1/rerank", json=_ASKED | {"documents": documents, "top_n": 99})).json()
    assert sorted(each["index"] for each in answer["results"]) == [0, 1, 2]
    assert set(answer["results"][0]) == {"index", "relevance_score"}
    assert answer["id"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model": "cosin"}, 404),
        ({"model": "all-minilm-l6-v2"}, 404),
        ({"query": "  "}, 400),
        ({"query": "x" * 10_001}, 400),
        ({"documents": []}, 400),
        ({"documents": ["", "x"]}, 400),
        ({"documents": [{"title": "x"}]}, 400),
        ({"documents": [1]}, 400),
        ({"documents": ["x"] * 1001}, 413),
        ({"documents": ["x" * 600_000, "y" * 600_000]}, 413),
        ({"top_n": 0}, 400),
        ({"unheard": "of"}, 400),
    ],
)
async def test_what_is_refused(client: httpx.AsyncClient, change: dict[str, Any], status: int) -> None:
    response = await client.post("/v1/rerank", json=_ASKED | change)
    assert response.status_code == status, response.text
    assert response.json()["error"]["message"]


async def test_the_nearest_name_is_suggested(client: httpx.AsyncClient) -> None:
    assert "cosine" in (await client.post("/v1/rerank", json=_ASKED | {"model": "cosin"})).json()["error"]["fix"]


async def test_it_needs_a_key_for_reading(app: FastAPI, runtime: Runtime) -> None:
    async with client_of(app) as nobody:
        assert (await nobody.post("/v1/rerank", json=_ASKED)).status_code == 401
    async with client_of(app, key_of(runtime, "reader", ["read"])) as reader:
        assert (await reader.post("/v1/rerank", json=_ASKED)).status_code == 200
    async with client_of(app, key_of(runtime, "writer", ["write"])) as writer:
        assert (await writer.post("/v1/rerank", json=_ASKED)).status_code == 403


async def test_search_explains_filters_and_takes_a_reranker(client: httpx.AsyncClient, runtime: Runtime) -> None:
    ingest(runtime, admin(runtime), "lamps", {f"{number}.txt": text.encode() for number, text in enumerate(_DOCUMENTS)})
    asked = {"query": _ASKED["query"], "collections": ["lamps"]}
    plain = (await client.post("/v1/search", json=asked)).json()
    assert (plain["reranker"], "explanations" in plain) == (None, False)
    answer = (await client.post("/v1/search", json=asked | {"reranker": "late", "explain": True})).json()
    assert answer["reranker"].startswith("late/1")
    for hit, told in zip(answer["hits"], answer["explanations"], strict=True):
        assert set(told) == {
            *("chunk_id", "dense", "lexical", "fused"),
            *("regularised", "faded", "rerank", "final"),
        }
        assert told["rerank"]["score"] == hit["rerank_score"]
    assert (await client.post("/v1/search", json=asked | {"filter": {"product": "lamp"}})).json()["hits"] == []
    assert (await client.post("/v1/search", json=asked | {"filter": {"product": {}}})).status_code == 400
    assert (await client.post("/v1/search", json=asked | {"reranker": "unheard-of"})).status_code in (404, 503)


async def test_a_search_may_be_understood(client: httpx.AsyncClient, runtime: Runtime, engine: ScriptedEngine) -> None:
    """Further queries are told with what they found; without being asked for, there are none."""
    ingest(
        runtime, admin(runtime), "shop", {f"{each}.txt": f"The {each} is sold.".encode() for each in ("pump", "lamp")}
    )
    asked = {"query": "Who sells the pump?", "collections": ["shop"], "k": 2}
    assert "understanding" not in (await client.post("/v1/search", json=asked)).json()
    engine.enqueue('{"queries": ["pump seller", "pump shop", "pump dealer"]}')
    answer = (await client.post("/v1/search", json=asked | {"understand": ["multi_query"]})).json()
    told = answer["understanding"]
    assert [each["text"] for each in told["queries"]] == ["pump seller", "pump shop", "pump dealer"]
    assert told["outcomes"] == {"multi_query": "used"}
    assert [len(ranks) for ranks in told["ranks"]] == [4] * len(answer["hits"])
    engine.enqueue("no JSON")
    plain = (await client.post("/v1/search", json=asked | {"understand": ["multi_query"]})).json()
    assert plain["understanding"]["outcomes"] == {"multi_query": "unusable"}
    assert (await client.post("/v1/search", json=asked | {"understand": ["magic"]})).status_code == 400
    elsewhere = asked | {"collections": ["nowhere"], "understand": ["multi_query"]}
    assert (await client.post("/v1/search", json=elsewhere)).status_code == 404


async def test_search_takes_options_for_one_question(client: httpx.AsyncClient, runtime: Runtime) -> None:
    """Every option that reorders or widens hits can be tried before it becomes a setting."""
    ingest(runtime, admin(runtime), "lamps", {f"{number}.txt": text.encode() for number, text in enumerate(_DOCUMENTS)})
    asked = {"query": "lamp", "collections": ["lamps"], "explain": True}
    options = {"fusion": "rrf", "diversity": 0.3, "neighbours": 1, "half_life_days": 30}
    [best, *_] = (await client.post("/v1/search", json=asked | options)).json()["explanations"]
    assert best["fused"]["score"] == pytest.approx(1 / 61)
    for wrong in ({"fusion": "sum"}, {"diversity": 1}, {"neighbours": -1}, {"half_life_days": 0}):
        assert (await client.post("/v1/search", json=asked | wrong)).status_code == 400

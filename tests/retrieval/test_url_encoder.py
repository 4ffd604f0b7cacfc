"""An encoder behind a URL: what is sent, when it is sent again, and that nothing but good vectors comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from fastapi import Response
from fastapi.responses import JSONResponse, RedirectResponse

from keepstone.platform.errors import InvalidInput, KeepstoneError, SettingsError, Unavailable
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoder_client import EmbeddingsClient
from keepstone.retrieval.reranking.rerankers import Rerankers
from keepstone.retrieval.url_encoder import UrlEncoder
from tests.retrieval.embeddings_server import EmbeddingsServer

_HERE = HashEncoder(16)


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddingsServer]:
    with EmbeddingsServer(_HERE).running() as server:
        yield server


@pytest.fixture
def server(running: EmbeddingsServer) -> EmbeddingsServer:
    running.answers.clear()
    running.asked.clear()
    running.keys.clear()
    return running


def _encoder(server: EmbeddingsServer, *, dimension: int = 16, **way: Any) -> UrlEncoder:
    client = EmbeddingsClient(server.url, model="hash", api_key="sk-hunter2", timeout_s=10)
    return UrlEncoder(client, dimension=dimension, pauses_s=(0.0,) * 3, **way)


def _row(*numbers: object, index: int = 0) -> dict[str, object]:
    return {"index": index, "embedding": list(numbers)}


def test_vectors_are_put_in_order_and_to_unit_length(server: EmbeddingsServer) -> None:
    """The server of this test answers backwards and with vectors of length 3, as servers may."""
    texts = [f"text {number}" for number in range(5)]
    np.testing.assert_allclose(_encoder(server).encode_documents(texts), _HERE.encode_documents(texts), atol=1e-6)
    assert server.asked == [{"model": "hash", "input": texts, "encoding_format": "float"}]
    assert server.keys == ["Bearer sk-hunter2"]


def test_many_texts_go_in_requests_that_servers_take(server: EmbeddingsServer) -> None:
    texts = [f"text {number}" for number in range(70)] + ["x" * 200_000, "y" * 200_000]
    vectors = _encoder(server, max_tokens=10**6).encode_documents(texts)
    np.testing.assert_allclose(vectors, _HERE.encode_documents(texts), atol=1e-6)
    assert sorted(len(asked["input"]) for asked in server.asked) == [1, 7, 32, 32]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: EmbeddingsServer, status: int) -> None:
    server.answers.extend(Response(status_code=status, headers={"retry-after": "0"}) for _ in range(3))
    assert _encoder(server).encode_documents(["a text"]).shape == (1, 16)
    assert len(server.asked) == 4


def test_it_gives_up_with_what_the_server_said(server: EmbeddingsServer) -> None:
    server.answers.extend(JSONResponse({"error": {"message": "out of memory"}}, 503) for _ in range(4))
    with pytest.raises(Unavailable, match="out of memory") as caught:
        _encoder(server).encode_documents(["a text"])
    assert "encoder.url" in str(caught.value.fix)
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (Response(status_code=401), Unavailable, "encoder.api_key"),
        (Response(status_code=404), Unavailable, "encoder.url, which mostly ends in /v1"),
        (JSONResponse({"error": "too long"}, 400), InvalidInput, "too long.*encoder.max_tokens"),
        (RedirectResponse("http://127.0.0.1:1/v1/embeddings"), Unavailable, "HTTP 307"),
        (Response("no JSON"), Unavailable, "did not answer with 1 vectors"),
        (Response("[" * 100_000), Unavailable, "did not answer with 1 vectors"),
        (JSONResponse({"data": []}), Unavailable, "did not answer with 1 vectors"),
        (JSONResponse({"data": [_row(*[0.1] * 16), _row(*[0.1] * 16)]}), Unavailable, "1 vectors"),
        (JSONResponse({"data": [_row(*[0.1] * 16, index=1)]}), Unavailable, "1 vectors"),
        (JSONResponse({"data": [_row("a", "b")]}), Unavailable, "1 vectors"),
        (JSONResponse({"data": [_row(0.1, [0.2])]}), Unavailable, "1 vectors"),
        (Response(json.dumps({"data": [_row(float("nan"), 1.0)]})), Unavailable, "hold no numbers"),
        (Response(json.dumps({"data": [_row(1e300, 1.0)]})), Unavailable, "hold no numbers"),
        (JSONResponse({"data": [_row(*[0.1] * 8)]}), SettingsError, "Set encoder.dimension to 8"),
    ],
)
def test_what_no_further_try_mends_is_said_at_once(
    server: EmbeddingsServer, answer: Response, error: type[KeepstoneError], message: str
) -> None:
    server.answers.append(answer)
    with pytest.raises(error, match=message):
        _encoder(server).encode_documents(["a text"])
    assert len(server.asked) == 1


def test_an_answer_without_end_is_refused(server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keepstone.retrieval.encoder_client._MAX_REPLY_BYTES", 100)
    with pytest.raises(Unavailable, match="more than 100 bytes"):
        _encoder(server).encode_query("a text")


def test_a_server_that_is_away_is_named() -> None:
    encoder = UrlEncoder(EmbeddingsClient("http://127.0.0.1:1/v1", model="hash"), dimension=16, pauses_s=())
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:1/v1 does not answer"):
        encoder.encode_documents(["a text"])
    assert encoder.trouble() == "The encoder's server at http://127.0.0.1:1/v1 does not answer"


def test_its_state_is_asked_for_once_in_a_while(server: EmbeddingsServer) -> None:
    """Pages that show the state must not cost the server a request each."""
    encoder = _encoder(server)
    server.answers.append(Response(status_code=503))
    assert [encoder.trouble() for _ in range(3)] == ["The encoder's server failed (HTTP 503)"] * 3
    assert len(server.asked) == 1
    assert _encoder(server).trouble() is None


def test_of_longer_vectors_the_first_numbers_are_taken(server: EmbeddingsServer) -> None:
    whole = _HERE.encode_query("the red fox")[:8]
    np.testing.assert_allclose(
        _encoder(server, dimension=8).encode_query("the red fox"), whole / np.linalg.norm(whole), atol=1e-6
    )


def test_prompts_are_sent_and_long_texts_cut(server: EmbeddingsServer) -> None:
    """What the server would refuse as too long or empty never reaches it."""
    encoder = _encoder(server, max_tokens=2, query_prompt="query: ", document_prompt="passage: ")
    encoder.encode_query("one two three")
    encoder.encode_documents(["one", "one two three"])
    _encoder(server).encode_documents(["", "\ud800"])
    assert [asked["input"] for asked in server.asked] == [
        ["query: one two "],
        ["passage: one", "passage: one two "],
        [" ", "?"],
    ]


def test_whatever_changes_vectors_changes_the_version(server: EmbeddingsServer) -> None:
    elsewhere = UrlEncoder(EmbeddingsClient("http://127.0.0.1:1/v1", model="hash"), dimension=16)
    ways: list[dict[str, Any]] = [
        {"dimension": 8},
        {"max_tokens": 100},
        {"query_prompt": "q"},
        {"document_prompt": "q"},
    ]
    versions = [elsewhere.version, _encoder(server).version, *(_encoder(server, **way).version for way in ways)]
    assert all(one != other for one, other in combinations(versions, 2))
    assert _encoder(server).version == _encoder(server).version
    assert versions[0].startswith("hash@")


def test_late_interaction_is_refused_with_the_reason(server: EmbeddingsServer) -> None:
    with pytest.raises(InvalidInput, match=r"gives no vectors of tokens.*search\.reranker"):
        Rerankers(_encoder(server)).get("late")

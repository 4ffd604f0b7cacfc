"""One Keepstone encodes for another: our own `/v1/embeddings` is a server that `encoder.url` may name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from fastapi import FastAPI

from keepstone.retrieval.encoder_client import EmbeddingsClient
from keepstone.retrieval.url_encoder import UrlEncoder
from keepstone.ui.runtime import Runtime
from tests.ui.served import served


@pytest.fixture
def encoder(app: FastAPI, runtime: Runtime, admin_key: str) -> Iterator[UrlEncoder]:
    """Return an encoder that asks a Keepstone which runs."""
    with served(app) as running:
        client = EmbeddingsClient(f"{running.url}/v1", model=runtime.settings.encoder.model, api_key=admin_key)
        yield UrlEncoder(client, dimension=runtime.encoder.dimension, pauses_s=())


def test_it_gives_the_vectors_of_the_encoder_behind_it(encoder: UrlEncoder, runtime: Runtime) -> None:
    texts = ["the red fox", "", "\ud800", "狐狸 fox"]
    np.testing.assert_allclose(encoder.encode_documents(texts), runtime.encoder.encode_documents(texts), atol=1e-6)
    assert encoder.trouble() is None

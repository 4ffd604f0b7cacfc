"""MTEB's protocols, without mteb: what it hands in and what it wants back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.local import Retrieval, open_retrieval
from keepstone.training.relevance.mteb import MtebEncoder, MtebSearch

_CORPUS = [
    {"id": "a/1", "title": "Lamps", "text": "A lamp lasts 900 hours."},
    {"id": "b", "title": "", "text": "The fuse is rated at 3 ampere."},
    {"id": "c", "text": "The pump moves nine litres a minute."},
]
_TASK = {"task_metadata": SimpleNamespace(name="Tiny/Task"), "hf_split": "test", "hf_subset": "default"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retrieval]:
    with open_retrieval(Path(tmp_path_factory.mktemp("mteb")), encoder=HashEncoder()) as opened:
        yield opened


def test_queries_find_documents_by_their_ids(store: Retrieval) -> None:
    search = MtebSearch(store)
    search.index(_CORPUS, **_TASK, encode_kwargs={}, num_proc=None)
    queries = [{"id": "q", "text": "How long does a lamp last?"}, {"id": "b", "text": "The fuse at 3 ampere"}]
    found = search.search(queries, **_TASK, top_k=2, encode_kwargs={}, num_proc=None)
    assert list(found) == ["q", "b"]
    assert max(found["q"], key=found["q"].__getitem__) == "a/1"
    # A query that is a document of the corpus does not find itself.
    assert "b" not in found["b"]
    assert all(len(each) <= 2 for each in found.values())
    with pytest.raises(InvalidInput, match="reranking"):
        search.search(queries, **_TASK, top_k=2, top_ranked={"q": ["b"]})


def test_texts_are_encoded_in_their_order() -> None:
    encoder = HashEncoder()
    adapter = MtebEncoder(encoder)
    batches = [{"text": ["red fox", "blue hen"]}, {"text": ["green cow"]}]
    vectors = adapter.encode(batches, prompt_type="document")
    np.testing.assert_array_equal(vectors, encoder.encode_documents(["red fox", "blue hen", "green cow"]))
    np.testing.assert_array_equal(
        adapter.encode(batches[1:], prompt_type="query")[0], encoder.encode_query("green cow")
    )
    assert adapter.encode([], prompt_type="query").shape == (0, encoder.dimension)
    np.testing.assert_allclose(np.diag(adapter.similarity(vectors, vectors)), 1, atol=1e-5)
    np.testing.assert_allclose(adapter.similarity_pairwise(vectors, vectors), 1, atol=1e-5)


def test_mteb_takes_them_for_models(store: Retrieval) -> None:
    protocols = pytest.importorskip("mteb.models.models_protocols", reason="the extra mteb is not installed")
    assert isinstance(MtebSearch(store), protocols.SearchProtocol)
    assert isinstance(MtebEncoder(store.encoders.default), protocols.EncoderProtocol)
    assert MtebSearch(store).mteb_model_meta.name == "keepstone/search"

"""What the vector store and the retriever do beyond LangChain's standard suites."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.langchain import KeepstoneEmbeddings, KeepstoneRetriever, KeepstoneVectorStore
from keepstone.retrieval.local import Retrieval, open_retrieval

pytestmark = pytest.mark.langchain
_TEXTS = ["The lamp lasts 900 hours.", "The fuse is rated at 3 ampere."]
_METADATA = [{"product": "lamp"}, {"product": "fuse"}]


@pytest.fixture
def retrieval(tmp_path: Path) -> Iterator[Retrieval]:
    with open_retrieval(tmp_path / "folder", encoder=HashEncoder()) as opened:
        yield opened


@pytest.fixture
def store(retrieval: Retrieval) -> KeepstoneVectorStore:
    store = KeepstoneVectorStore(retrieval, "things")
    store.add_texts(_TEXTS, _METADATA, ids=["lamp", "fuse"])
    return store


def test_scores_are_cosines_and_filters_narrow(store: KeepstoneVectorStore) -> None:
    (best, score), (_, other) = store.similarity_search_with_score(_TEXTS[0], k=2)
    assert best == Document(id="lamp", page_content=_TEXTS[0], metadata=_METADATA[0])
    assert score == pytest.approx(1.0, abs=1e-3)
    assert -1 <= other < score
    assert [each.id for each in store.similarity_search(_TEXTS[0], filter={"product": "fuse"})] == ["fuse"]
    assert store.similarity_search_with_relevance_scores(_TEXTS[0], k=1)[0][0].id == "lamp"


def test_a_vector_finds_what_its_text_does(store: KeepstoneVectorStore) -> None:
    vector = [2 * value for value in store.embeddings.embed_query(_TEXTS[1])]
    assert store.similarity_search_by_vector(vector, k=1)[0].id == "fuse"
    for wrong in ([1.0], [0.0] * 64, [float("nan")] * 64):
        with pytest.raises(InvalidInput):
            store.similarity_search_by_vector(wrong)


def test_as_retriever_and_async(store: KeepstoneVectorStore) -> None:
    assert store.as_retriever(search_kwargs={"k": 1}).invoke("the lamp lasts")[0].id == "lamp"


async def test_the_retriever_tells_place_and_scores(store: KeepstoneVectorStore, retrieval: Retrieval) -> None:
    retriever = KeepstoneRetriever(retrieval=retrieval, collections=["things"], k=2)
    [first, second] = await retriever.ainvoke("How long does the lamp last?")
    assert first.page_content == _TEXTS[0]
    assert (first.metadata["start"], first.metadata["end"]) == (0, len(_TEXTS[0]))
    assert first.metadata["score"] > second.metadata["score"]
    assert first.metadata["dense_score"] is not None
    [only] = await retriever.ainvoke("the lamp", filter={"product": "fuse"})
    assert only.page_content == _TEXTS[1]


def test_from_texts_has_a_folder_of_its_own(tmp_path: Path) -> None:
    embeddings = KeepstoneEmbeddings(HashEncoder())
    store = KeepstoneVectorStore.from_texts(_TEXTS, embeddings, ids=["a", "b"], folder=tmp_path / "kept")
    store.close()
    with open_retrieval(tmp_path / "kept", encoder=HashEncoder()) as reopened:
        assert [each.id for each in KeepstoneVectorStore(reopened).get_by_ids(["b", "a"])] == ["b", "a"]
    other = KeepstoneVectorStore.from_documents([Document("x")], DeterministicFakeEmbedding(size=4))
    assert other.similarity_search("x")[0].page_content == "x"
    other.close()


def test_ids_must_be_as_many_as_documents(store: KeepstoneVectorStore) -> None:
    with pytest.raises(InvalidInput):
        store.add_documents([Document("a"), Document("b")], ids=["1"])

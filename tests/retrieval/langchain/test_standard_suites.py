"""The classes for LangChain pass LangChain's own standard suites: `pytest -m langchain`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.langchain import (
    EmbeddingsEncoder,
    KeepstoneEmbeddings,
    KeepstoneRetriever,
    KeepstoneVectorStore,
)
from keepstone.retrieval.local import Retrieval, open_retrieval

pytestmark = pytest.mark.langchain


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retrieval]:
    """Return a folder with some files in it."""
    with open_retrieval(tmp_path_factory.mktemp("filled"), encoder=HashEncoder()) as opened:
        opened.add([(f"{number}.md", f"The lamp of room {number} lasts long.".encode()) for number in range(5)])
        yield opened


class TestEmbeddings(EmbeddingsUnitTests):
    """Of our encoders."""

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return KeepstoneEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"encoder": HashEncoder()}


class TestEmbeddingsInUse(EmbeddingsIntegrationTests):
    """The vectors that they make."""

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return KeepstoneEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"encoder": HashEncoder()}


class TestRetriever(RetrieversIntegrationTests):
    """Over a folder of files."""

    @pytest.fixture(autouse=True)
    def _take(self, filled: Retrieval) -> None:
        self._filled = filled

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return KeepstoneRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"retrieval": self._filled}

    @property
    def retriever_query_example(self) -> str:
        return "How long does the lamp last?"


class TestVectorStore(VectorStoreIntegrationTests):
    """Over an empty folder, with the suite's own embeddings."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:
        encoder = EmbeddingsEncoder(self.get_embeddings(), version="suite")
        with open_retrieval(tmp_path / "store", encoder=encoder) as opened:
            yield KeepstoneVectorStore(opened)

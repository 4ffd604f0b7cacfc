"""A collection as LangChain's vector store.

with open_retrieval("notes") as notes:
    store = KeepstoneVectorStore(notes, collection="faq")
    store.add_texts(["The warranty lasts two years."], [{"product": "AF-200"}])
    store.similarity_search("How long is the warranty?", k=4, filter={"product": "AF-200"})

Documents keep their ids and metadata, survive the process, and are also found by `KeepstoneRetriever` and by the app.
Scores are cosines: higher is better.
"""

from __future__ import annotations

import tempfile
import uuid
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from numpy.typing import NDArray

from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.filters import Where
from keepstone.retrieval.langchain.embeddings import KeepstoneEmbeddings, as_encoder
from keepstone.retrieval.local import DEFAULT_COLLECTION, Retrieval, open_retrieval
from keepstone.retrieval.passages import Passage, Passages


class KeepstoneVectorStore(VectorStore):
    """The documents of one collection, found by their vectors.

    Args:
        retrieval: an open folder, whose encoder makes the vectors.
        collection: which; made when the first document is added.
    """

    def __init__(self, retrieval: Retrieval, collection: str = DEFAULT_COLLECTION) -> None:
        self._passages = Passages(retrieval, collection)
        self._resources = ExitStack()

    @property
    def embeddings(self) -> KeepstoneEmbeddings:
        """The encoder of the collection."""
        return KeepstoneEmbeddings(self._passages.encoder)

    def add_documents(self, documents: list[Document], **kwargs: Any) -> list[str]:
        """Add documents, each in the place of the one that had its id, and return their ids.

        Args:
            documents: their texts, metadata (as JSON can hold them), and ids, which are made up where there are none.
            kwargs: `ids`, which win over those of the documents.

        Raises:
            KeepstoneError: one of them cannot be stored; then none is.
        """
        given: Sequence[str | None] = kwargs.get("ids") or [each.id for each in documents]
        if len(given) != len(documents):
            raise InvalidInput(f"{len(given)} ids for {len(documents)} documents", fix="Give each document one")
        ids = [each or str(uuid.uuid4()) for each in given]
        self._passages.put(
            [Passage(id_, each.page_content, each.metadata) for id_, each in zip(ids, documents, strict=True)]
        )
        return ids

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Take documents away, all by default; those that are not there are passed over."""
        del kwargs
        self._passages.remove(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return those of the documents that are there, in the order of the ids."""
        return [_document(each) for each in self._passages.get(ids)]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the documents nearest to a question; `filter` narrows the search as `filters` says."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the documents nearest to a vector."""
        vector = np.array(embedding, dtype=np.float32)
        length = float(np.linalg.norm(vector))
        if vector.shape != (self._passages.encoder.dimension,) or not np.isfinite(length) or length == 0:
            raise InvalidInput("This vector is not one of the collection's encoder", fix="Make it with `embeddings`")
        return [document for document, _ in self._nearest(vector / np.float32(length), k, kwargs.get("filter"))]

    def similarity_search_with_score(self, *args: Any, **kwargs: Any) -> list[tuple[Document, float]]:
        """Return the documents nearest to a question with their cosines; takes what `similarity_search` does."""
        return self._scored(*args, **kwargs)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        folder: Path | str | None = None,
        collection: str = DEFAULT_COLLECTION,
        **kwargs: Any,
    ) -> KeepstoneVectorStore:
        """Return a store of these texts that has its folder to itself, until `close` or the end of the process.

        Args:
            texts: what to add.
            embedding: `KeepstoneEmbeddings`, or any other.
            metadatas: of each text.
            ids: of each text.
            folder: where everything is kept; by default in a temporary one that goes with the store.
            collection: its name.
            kwargs: passed on to `open_retrieval`.
        """
        resources = ExitStack()
        try:
            place = folder or resources.enter_context(tempfile.TemporaryDirectory(prefix="keepstone-"))
            opened = resources.enter_context(open_retrieval(place, encoder=as_encoder(embedding), **kwargs))
            store = cls(opened, collection)
            store.add_texts(texts, metadatas, ids=ids)
        except BaseException:
            resources.close()
            raise
        store._resources = resources
        weakref.finalize(store, resources.close)
        return store

    def close(self) -> None:
        """Let go of the folder of a store that `from_texts` made; other stores end with their `Retrieval`."""
        self._resources.close()

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(max(cosine, 0.0), 1.0)

    def _scored(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Where | None = None,  # noqa: A002 - LangChain's name for it
    ) -> list[tuple[Document, float]]:
        return self._nearest(self._passages.encoder.encode_query(query), k, filter)

    def _nearest(self, vector: NDArray[np.float32], k: int, where: Where | None) -> list[tuple[Document, float]]:
        return [(_document(each), score) for each, score in self._passages.nearest(vector, k, where=where)]


def _document(passage: Passage) -> Document:
    return Document(id=passage.id, page_content=passage.text, metadata=dict(passage.details))

"""Hybrid search as LangChain's retriever.

with open_retrieval("notes") as notes:
    KeepstoneRetriever(retrieval=notes, k=5).invoke("How long is the warranty?")
"""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import run_in_executor

from keepstone.retrieval.local import Retrieval
from keepstone.retrieval.types import Hit


class KeepstoneRetriever(BaseRetriever):
    """Finds passages by meaning and by words.

    Each document's metadata say where it stands (`document`, `document_id`, `page`, `start`, `end`, `context`) and why
    it was found (`score`, `dense_score`, `lexical_score`, `rerank_score`).
    """

    retrieval: Retrieval
    """An open folder."""
    collections: list[str] | None = None
    """Names or ids; all by default."""
    k: int = 4
    """How many passages; `invoke` takes another number as `k`."""
    filter: dict[str, Any] | None = None
    """Only documents of which this is known; `invoke` takes another one as `filter`."""

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangChain's name for it
    ) -> list[Document]:
        del run_manager
        where = self.filter if filter is None else filter
        count = self.k if k is None else k
        result = self.retrieval.search(query, k=count, collections=self.collections, where=where)
        return [_document(hit) for hit in result.hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **kwargs
        )


def _document(hit: Hit) -> Document:
    metadata = {
        "document": hit.document_name,
        "document_id": hit.document_id,
        "collection_id": hit.collection_id,
        "page": hit.page,
        "start": hit.start,
        "end": hit.end,
        "context": hit.context,
        "score": hit.score,
        "dense_score": hit.dense_score,
        "lexical_score": hit.lexical_score,
        "rerank_score": hit.rerank_score,
    }
    return Document(id=str(hit.chunk_id), page_content=hit.text, metadata=metadata)

"""`POST /v1/rerank`, in the shape that Jina and Cohere share: texts in the order in which they answer a question."""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field

from keepstone.platform.database.tables import new_id
from keepstone.platform.errors import InvalidInput, LimitExceeded, NotFound, did_you_mean
from keepstone.retrieval.reranking import COSINE, LATE, LLM, Reranker
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.runtime import Runtime

router = APIRouter(prefix="/v1", tags=["search"])

_MAX_TEXTS: Final = 1000
_MAX_CHARACTERS: Final = 1_000_000


class TextDocument(BaseModel, extra="forbid"):
    """A text as an object."""

    text: str


class RerankRequest(BaseModel, extra="forbid"):
    """Texts to order."""

    model: str
    """`cosine`, `late`, `llm`, or the name of an installed reranker."""
    query: Annotated[str, Field(max_length=10_000)]
    documents: list[str | TextDocument]
    top_n: Annotated[int, Field(ge=1)] | None = None
    """How many to return; null returns all."""
    return_documents: bool = False
    """Whether to return the texts as well."""
    max_tokens_per_doc: int | None = None
    """Ignored: of a text that is too long for the model, its beginning counts."""


@router.post("/rerank")
def rerank(asked: RerankRequest, principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Order texts by how well they answer a question."""
    principal.needs_scope("read")
    reranker = _reranker(runtime, asked.model)
    texts = _texts(asked)
    scores = reranker.scores(asked.query, texts)
    best = np.argsort(-scores, kind="stable")[: asked.top_n].tolist()
    limit = runtime.encoder.max_tokens
    tokens = sum(min(runtime.encoder.count_tokens(text), limit) for text in (asked.query, *texts))
    return {
        "id": new_id("rrk"),
        "object": "list",
        "model": asked.model,
        "results": [
            {"index": at, "relevance_score": float(scores[at])}
            | ({"document": {"text": texts[at]}} if asked.return_documents else {})
            for at in best
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _reranker(runtime: Runtime, name: str) -> Reranker:
    installed = [model for model in runtime.registry.list("reranker") if name in (model.name, model.reference)]
    if name not in (COSINE, LATE, LLM) and not installed:
        known = [COSINE, LATE, LLM, *(model.name for model in runtime.registry.list("reranker"))]
        raise NotFound(f"No reranker {name!r}", fix=did_you_mean(name, list(dict.fromkeys(known))))
    return runtime.rerankers.get(name)


def _texts(asked: RerankRequest) -> list[str]:
    texts = [each if isinstance(each, str) else each.text for each in asked.documents]
    if not asked.query.strip():
        raise InvalidInput("The query is empty", fix="Say what the documents are to answer")
    if not texts or not all(text.strip() for text in texts):
        raise InvalidInput("documents is empty, or holds an empty text", fix='Give texts, or objects {"text": "..."}')
    if len(texts) > _MAX_TEXTS or sum(map(len, texts)) > _MAX_CHARACTERS:
        raise LimitExceeded(
            f"{len(texts)} documents with {sum(map(len, texts))} characters",
            fix=f"Send at most {_MAX_TEXTS} documents and {_MAX_CHARACTERS} characters at once",
        )
    return texts

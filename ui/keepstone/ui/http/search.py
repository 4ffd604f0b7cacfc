"""`POST /v1/search`: passages, with all their scores and the time that each stage took."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from keepstone.platform.access import readable_scope
from keepstone.platform.errors import InvalidInput
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime

router = APIRouter(prefix="/v1", tags=["search"])


class Query(BaseModel, extra="forbid"):
    """What to look for."""

    query: Annotated[str, Field(max_length=10_000)]
    collections: Annotated[list[str], Field(max_length=100)] | None = None
    """Names or ids; null searches all that the caller may read."""
    k: Annotated[int, Field(ge=1, le=100)] = 10
    """How many passages."""
    filter: Annotated[dict[str, Any], Field(max_length=20)] | None = None
    """Only documents of which this is known: under each name a value, or a list of values."""
    reranker: Annotated[str, Field(max_length=200)] | None = None
    """`off`, `late`, `cosine`, or the name of an installed one; null takes that of the settings."""
    explain: bool = False
    """Whether to tell score and place of each hit at every stage."""


@router.post("/search")
def search(asked: Query, principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Find passages by meaning and by words."""
    if not asked.query.strip():
        raise InvalidInput("The query is empty", fix="Say what to look for")
    with runtime.database.reading() as session:
        principal.needs_scope("read")
        scope = readable_scope(session, principal, asked.collections)
    result = runtime.searcher.search(
        scope, asked.query, k=asked.k, where=asked.filter, reranker=asked.reranker, explained=asked.explain
    )
    explained: dict[str, Any] = {}
    if asked.explain:
        explained = {
            "explanations": [asdict(each) for each in result.explanations],
            "dense_weight": result.dense_weight,
        }
    return {
        "hits": [
            asdict(hit) | {"url": f"/v1/documents/{hit.document_id}/passage?start={hit.start}&end={hit.end}"}
            for hit in result.hits
        ],
        "query_language": result.query_language,
        "reranker": result.reranker,
        "timings_ms": dict(result.timings),
    } | explained

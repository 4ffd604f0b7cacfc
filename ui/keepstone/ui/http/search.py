"""`POST /v1/search`: passages, with all their scores and the time that each stage took."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from keepstone.agents.understanding.base import Documents
from keepstone.agents.understanding.understanding import Understood
from keepstone.platform.errors import InvalidInput
from keepstone.platform.understanding_settings import UnderstandingTechnique
from keepstone.retrieval.several import search_several
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.runtime import Runtime

router = APIRouter(prefix="/v1", tags=["search"])

_OPTIONS: Final = {"fusion", "diversity", "neighbours", "half_life_days"}


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
    """`off`, `late`, `cosine`, `llm`, or the name of an installed one; null takes the collections' or settings'."""
    understand: Annotated[list[UnderstandingTechnique], Field(max_length=10)] = []
    """Ways to make further queries of it, as the setting `understanding.techniques` names them."""
    fusion: Literal["convex", "rrf"] | None = None
    """How both rankings become one; null takes what the collections or the settings say, as for those below."""
    diversity: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Weight of a passage's likeness to better ones against its score."""
    neighbours: Annotated[int, Field(ge=0, le=20)] | None = None
    """With how many passages before and after it each one is read."""
    half_life_days: Annotated[float, Field(gt=0)] | None = None
    """Age of a document at which its passages score half."""
    explain: bool = False
    """Whether to tell score and place of each hit at every stage."""


@router.post("/search")
async def search(asked: Query, principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Find passages by meaning and by words."""
    if not asked.query.strip():
        raise InvalidInput("The query is empty", fix="Say what to look for")
    principal.needs_scope("read")
    documents = Documents(runtime.database, runtime.searcher, principal, asked.collections)
    understood = Understood(asked.query)
    if asked.understand:
        await run_in_threadpool(documents.scope)
        understood = await runtime.understanding.understand(asked.query, documents, asked.understand)
    return await run_in_threadpool(_found, asked, documents, understood, runtime)


def _found(asked: Query, documents: Documents, understood: Understood, runtime: Runtime) -> dict[str, Any]:
    found = search_several(
        runtime.searcher,
        documents.scope(),
        understood.queries,
        k=asked.k,
        where=asked.filter,
        reranker=asked.reranker,
        options=asked.model_dump(include=_OPTIONS, exclude_none=True),
        explained=asked.explain,
    )
    # What the question itself found tells how; its explanations are those of the hits that it has.
    result = found.results[0]
    explained: dict[str, Any] = {}
    if asked.explain:
        shown = {hit.chunk_id for hit in found.hits}
        explained = {
            "explanations": [asdict(each) for each in result.explanations if each.chunk_id in shown],
            "dense_weight": result.dense_weight,
        }
    if asked.understand:
        explained["understanding"] = understood.record() | {"ranks": found.ranks}
    return {
        "hits": [
            asdict(hit) | {"url": f"/v1/documents/{hit.document_id}/passage?start={hit.start}&end={hit.end}"}
            for hit in found.hits
        ],
        "query_language": result.query_language,
        "reranker": result.reranker,
        "timings_ms": dict(found.timings),
    } | explained

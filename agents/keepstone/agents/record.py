"""The provenance record: what made an answer, kept with it, so that it can be explained and made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from keepstone.agents.types import Answer, Claim, Passage
from keepstone.platform.access import Principal
from keepstone.platform.database import Database
from keepstone.platform.database.tables import AnswerRow
from keepstone.retrieval.search import SearchResult


def provenance_record(
    *,
    result: SearchResult,
    passages: Sequence[Passage],
    claims: Sequence[Claim],
    evidence: Mapping[str, float],
    versions: Mapping[str, str],
    timings_ms: Mapping[str, float],
    tokens: Mapping[str, int | None],
    finish_reason: str | None,
) -> dict[str, Any]:
    """Return the record as plain JSON. Passages are named by span and hash; their text stays in its document."""
    return {
        "versions": dict(versions),
        "index": {
            "sequence": dict(result.index_seq),
            "encoders": dict(result.encoders),
            "reranker": result.reranker,
            "query_language": result.query_language,
        },
        "evidence": dict(evidence),
        "passages": [passage_record(passage) for passage in passages],
        "claims": [asdict(claim) for claim in claims],
        "tokens": dict(tokens),
        "finish_reason": finish_reason,
        "timings_ms": {**dict(timings_ms), "stages": dict(result.timings)},
    }


def store_answer(database: Database, principal: Principal, answer: Answer) -> None:
    """Store an answer with its record."""
    collections = {passage.hit.collection_id for passage in answer.passages}
    with database.transaction() as session:
        session.add(
            AnswerRow(
                id=answer.id,
                principal_id=principal.id,
                collection_id=collections.pop() if len(collections) == 1 else None,
                question=answer.question,
                standalone_question=answer.standalone_question,
                content=answer.content,
                outcome=answer.outcome,
                record=answer.record,
            )
        )


def passage_record(passage: Passage) -> dict[str, Any]:
    """Return a passage as the record names it."""
    hit = passage.hit
    return {
        "number": passage.number,
        "chunk_id": hit.chunk_id,
        "document_id": hit.document_id,
        "document": hit.document_name,
        "document_sha256": hit.document_sha256,
        "collection_id": hit.collection_id,
        "start": hit.start,
        "end": hit.start + len(passage.text),
        "page": hit.page,
        "context": hit.context,
        "score": hit.score,
        "dense_score": hit.dense_score,
        "lexical_score": hit.lexical_score,
    }

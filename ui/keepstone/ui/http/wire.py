"""A grounded answer in OpenAI's format, with its evidence in the extension field `keepstone`.

    "keepstone": {
      "answer_id": "ans_...", "outcome": "answered",            # answered, declined, stopped or failed
      "standalone_question": "...",                             # the question as it was searched for
      "sources": [{"number": 1, "document_id": "doc_...", "document": "handbook.pdf", "sha256": "...", "page": 3,
                   "start": 1200, "end": 1620, "context": "Leave > Parental leave", "cited": true,
                   "quote": {"start": 1240, "end": 1310, "text": "..."}, "score": 1.7,
                   "url": "/v1/documents/doc_.../passage?start=1200&end=1620"}],
      "claims": [{"start": 0, "end": 52, "citation": 1, "support": 0.93, "attributed": false}]}

Spans of sources count the characters (Unicode code points) of the document's text, spans of claims those of the
answer's. `quote` is the stretch that supports the first claim resting on the source, null where none does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from keepstone.agents.types import Answer, Claim, Passage
from keepstone.platform.database.tables import new_id


@dataclass(frozen=True, slots=True)
class Completion:
    """One chat completion under way: what all its parts share.

    Args:
        model: the name that the client asked for.
    """

    model: str
    id: str = field(default_factory=lambda: new_id("chatcmpl"))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answer: Answer) -> dict[str, Any]:
        """Return the answer as one `chat.completion`."""
        evidence = evidence_of(answer)
        message = {"role": "assistant", "content": answer.content, "refusal": None, "keepstone": evidence}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(answer)}
        return self._envelope("chat.completion") | {
            "choices": [choice],
            "usage": usage_of(answer),
            "keepstone": evidence,
        }

    def opening(self) -> dict[str, Any]:
        """Return the first chunk of a stream."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> dict[str, Any]:
        """Return a chunk with more text."""
        return self._chunk({"content": text})

    def closing(self, answer: Answer) -> dict[str, Any]:
        """Return the last chunk of a stream, with the evidence."""
        evidence = evidence_of(answer)
        chunk = self._chunk({"keepstone": evidence}, finish_reason=_finish_reason(answer))
        return chunk | {"keepstone": evidence}

    def usage(self, answer: Answer) -> dict[str, Any]:
        """Return the chunk behind the last one that counts the tokens, for clients that asked for it."""
        return self._envelope("chat.completion.chunk") | {"choices": [], "usage": usage_of(answer)}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._envelope("chat.completion.chunk") | {"choices": [choice]}

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def evidence_of(answer: Answer) -> dict[str, Any]:
    """Return what the answer rests on: the extension field `keepstone`."""
    return {
        "answer_id": answer.id,
        "outcome": answer.outcome,
        "standalone_question": answer.standalone_question,
        "sources": [source(passage, answer.claims) for passage in answer.passages],
        "claims": [
            {
                "start": claim.start,
                "end": claim.end,
                "citation": claim.citation,
                "support": round(claim.support, 4),
                "attributed": claim.attributed,
            }
            for claim in answer.claims
        ],
    }


def source(passage: Passage, claims: tuple[Claim, ...]) -> dict[str, Any]:
    """Return a passage as clients see it."""
    hit = passage.hit
    return {
        "number": passage.number,
        "document_id": hit.document_id,
        "document": hit.document_name,
        "sha256": hit.document_sha256,
        "page": hit.page,
        "start": hit.start,
        "end": hit.end,
        "context": hit.context,
        "cited": any(claim.citation == passage.number for claim in claims),
        "quote": _quote(passage, claims),
        "score": round(hit.score, 6),
        "url": f"/v1/documents/{hit.document_id}/passage?start={hit.start}&end={hit.end}",
    }


def usage_of(answer: Answer) -> dict[str, int]:
    """Return the token counts, as the provenance record has them; zero where no model was asked."""
    counts = answer.record.get("tokens") or {}
    prompt, completion = int(counts.get("prompt") or 0), int(counts.get("completion") or 0)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _quote(passage: Passage, claims: tuple[Claim, ...]) -> dict[str, Any] | None:
    hit = passage.hit
    for claim in claims:
        if claim.citation == passage.number and claim.quote_start is not None and claim.quote_end is not None:
            text = hit.text[max(claim.quote_start - hit.start, 0) : max(claim.quote_end - hit.start, 0)]
            return {"start": claim.quote_start, "end": claim.quote_end, "text": text}
    return None


def _finish_reason(answer: Answer) -> str:
    return "length" if answer.record.get("finish_reason") == "length" else "stop"

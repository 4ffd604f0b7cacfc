"""Conversations, what made an answer, and what people thought of it. All of it is the caller's own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from keepstone.agents.conversations import ConversationInfo, StoredMessage
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.listings import Listing

router = APIRouter(prefix="/v1", tags=["conversations"])


class Feedback(BaseModel, extra="forbid"):
    """What somebody thought of an answer."""

    rating: Literal[-1, 0, 1]
    """1 good, -1 bad, 0 takes an earlier rating back."""
    comment: Annotated[str, Field(max_length=10_000)] = ""
    correction: Annotated[str, Field(max_length=10_000)] = ""
    """What the answer should have been."""
    relevant: Annotated[list[int], Field(max_length=100)] = []
    """Numbers of passages, as the answer cites them, that hold the answer."""
    irrelevant: Annotated[list[int], Field(max_length=100)] = []
    """Numbers of passages that have nothing to do with the question."""


@router.get("/conversations")
def list_conversations(
    principal: CurrentPrincipal, runtime: TheRuntime, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> Listing[ConversationInfo]:
    """List the caller's conversations, the latest first."""
    return Listing(data=runtime.conversations.recent(principal, limit))


@router.get("/conversations/{conversation_id}/messages")
def list_messages(conversation_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Listing[StoredMessage]:
    """Return the turns of a conversation in order."""
    return Listing(data=runtime.conversations.messages(principal, conversation_id))


@router.delete("/conversations/{conversation_id}", status_code=204, response_class=Response)
def delete_conversation(conversation_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> None:
    """Delete a conversation with its turns."""
    runtime.conversations.delete(principal, conversation_id)


@router.get("/answers/{answer_id}")
def get_answer(answer_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> dict[str, Any]:
    """Return the provenance of an answer: passages, claims, versions, timings."""
    return runtime.conversations.provenance(principal, answer_id)


@router.put("/answers/{answer_id}/feedback", status_code=204, response_class=Response)
def rate_answer(answer_id: str, feedback: Feedback, principal: CurrentPrincipal, runtime: TheRuntime) -> None:
    """Say that an answer was good or bad, and what would have been right; a later rating replaces an earlier one."""
    runtime.conversations.rate(
        principal,
        answer_id,
        feedback.rating,
        feedback.comment,
        correction=feedback.correction,
        relevant=feedback.relevant,
        irrelevant=feedback.irrelevant,
    )

"""Promotions: make a model live, take that back, and what was live when. For administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from keepstone.platform.models.promotions import Promotion
from keepstone.training.promotion import Order
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.jobs import Job, get_job
from keepstone.ui.http.listings import Listing

router = APIRouter(prefix="/v1/models/promotions", tags=["models"])


class RollbackOrder(BaseModel):
    """What to roll back."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    collection: str | None = None
    """Whose encoder; unset: the language model."""


class PromotionOrder(RollbackOrder):
    """What to promote."""

    model: str
    """Name, or `NAME@VERSION`."""
    verdict_id: str | None = None
    """The verdict that it rests on; unset: the newest one over that model."""
    force: bool = False
    """Promote without a verdict that says so."""


@router.get("")
def list_promotions(
    principal: CurrentPrincipal, runtime: TheRuntime, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> Listing[Promotion]:
    """List all promotions, newest first."""
    return Listing(data=list(runtime.promotions.history(principal, limit)))


@router.get("/last")
def get_last(principal: CurrentPrincipal, runtime: TheRuntime, collection: str | None = None) -> Promotion:
    """Return the promotion that a rollback would take back."""
    return runtime.promotions.last(principal, collection=collection)


@router.post("", status_code=202)
def promote(order: PromotionOrder, principal: CurrentPrincipal, runtime: TheRuntime) -> Job:
    """Make a model live, as a job."""
    return get_job(runtime.promotions.order(principal, Order(**order.model_dump())), principal, runtime)


@router.post("/rollback", status_code=202)
def roll_back(order: RollbackOrder, principal: CurrentPrincipal, runtime: TheRuntime) -> Job:
    """Take back the last promotion, as a job."""
    return get_job(runtime.promotions.order(principal, Order(collection=order.collection)), principal, runtime)

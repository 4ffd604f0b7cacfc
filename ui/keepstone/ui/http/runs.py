"""Runs of training recipes: order one, see what it would take, watch its curve. For administrators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from keepstone.training.recipes.base import Plan
from keepstone.training.runs import Order, Run
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.listings import Listing

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get("")
def list_runs(
    principal: CurrentPrincipal, runtime: TheRuntime, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> Listing[Run]:
    """List the runs, newest first."""
    return Listing(data=list(runtime.runs.list(principal, limit)))


@router.post("", status_code=202)
def start_run(order: Order, principal: CurrentPrincipal, runtime: TheRuntime) -> Run:
    """Order a run; it begins when no other is under way."""
    return runtime.runs.get(principal, runtime.runs.start(principal, order))


@router.post("/plan")
def plan_run(order: Order, principal: CurrentPrincipal, runtime: TheRuntime) -> Plan:
    """Tell what a run would take; nothing runs."""
    return runtime.runs.plan(principal, order)


@router.get("/{run_id}")
def get_run(run_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Run:
    """Return one run."""
    return runtime.runs.get(principal, run_id)


@router.get("/{run_id}/curve")
def get_curve(run_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Listing[dict[str, Any]]:
    """Return what was measured at each step: `step`, `of`, `loss`, `lr`, `seconds`."""
    return Listing(data=list(runtime.runs.curve(principal, run_id)))


@router.post("/{run_id}/cancel", status_code=202)
def cancel_run(run_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Run:
    """Stop a run for good."""
    runtime.runs.cancel(principal, run_id)
    return runtime.runs.get(principal, run_id)

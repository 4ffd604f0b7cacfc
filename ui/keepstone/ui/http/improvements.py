"""Improvements: order one, see what it would take, watch it, read its report. For administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from keepstone.platform.errors import EngineUnavailable
from keepstone.training.improve import Estimate, ImproveConfig, Improvement, Progress
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.listings import Listing

router = APIRouter(prefix="/v1/improvements", tags=["improvements"])
_MEDIA = {"md": "text/markdown; charset=utf-8", "html": "text/html; charset=utf-8"}
# The report's own policy, which is stricter than that of the pages: it needs its style and nothing else.
_POLICY = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}


class ImprovementView(BaseModel):
    """An improvement, as people watch it."""

    id: str
    """Also of its job, by which it is cancelled and tried again."""
    collection: str
    state: str
    """Of its job; `gone` where only the report is left."""
    done: int
    total: int
    step: str | None
    """The step in hand."""
    step_job: str | None
    """The job that does it: a training's curve is that of the run of this id."""
    summary: str
    error: str | None
    created_at: datetime
    ended_at: datetime | None
    record: Improvement | None = None
    """When asked for one."""


@router.get("")
def list_improvements(
    principal: CurrentPrincipal, runtime: TheRuntime, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> Listing[ImprovementView]:
    """List the improvements, newest first."""
    return Listing(data=[_view(each) for each in runtime.improvements.list(principal, limit)])


@router.post("", status_code=202)
async def start_improvement(order: ImproveConfig, principal: CurrentPrincipal, runtime: TheRuntime) -> ImprovementView:
    """Order an improvement; it begins when no other is under way."""
    improvements = runtime.improvements
    if await run_in_threadpool(improvements.needs_engine, principal, order) and not await runtime.engine.ready():
        raise EngineUnavailable(
            "The language model, which has a part in this, does not answer",
            fix="See `keepstone status`; or leave it out: --make embedding --set dataset.source=sentences",
        )
    started = await run_in_threadpool(improvements.start, principal, order)
    return _view(await run_in_threadpool(improvements.get, principal, started))


@router.post("/plan")
def plan_improvement(order: ImproveConfig, principal: CurrentPrincipal, runtime: TheRuntime) -> Listing[Estimate]:
    """Tell what each step would take; nothing runs."""
    return Listing(data=list(runtime.improvements.plan(principal, order)))


@router.get("/{improvement_id}")
def get_improvement(improvement_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> ImprovementView:
    """Return one improvement with its record."""
    progress = runtime.improvements.get(principal, improvement_id)
    return _view(progress).model_copy(update={"record": progress.record})


@router.get("/{improvement_id}/report", response_class=Response)
def get_report(
    improvement_id: str, principal: CurrentPrincipal, runtime: TheRuntime, form: Literal["md", "html"] = "html"
) -> Response:
    """Return the report as Markdown or as one HTML page."""
    report = runtime.improvements.report(principal, improvement_id, form)
    return Response(report, media_type=_MEDIA[form], headers=_POLICY)


def _view(progress: Progress) -> ImprovementView:
    record = progress.record
    stage = next((each for each in record.stages if each.state == "running"), None)
    return ImprovementView(
        id=record.id,
        collection=record.collection,
        state=progress.state,
        done=progress.done,
        total=progress.total,
        step=stage.name if stage else None,
        step_job=stage.job if stage else None,
        summary=record.summary,
        error=record.error,
        created_at=record.created_at,
        ended_at=record.ended_at,
    )

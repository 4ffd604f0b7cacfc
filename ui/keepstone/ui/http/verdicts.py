"""Verdicts on candidates: have one judged, read what it came to. Ordering is for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from keepstone.platform.errors import EngineUnavailable
from keepstone.training.evaluate.gate import TITLES, Figure, Goal, Outcome, Role
from keepstone.training.evaluate.parity import Parity
from keepstone.training.evaluate.service import Evaluation, EvaluationPlan
from keepstone.training.evaluate.verdicts import Subject, Verdict
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.jobs import Job, get_job
from keepstone.ui.http.listings import Listing

router = APIRouter(prefix="/v1/verdicts", tags=["verdicts"])


class FigureView(BaseModel):
    """One figure of both models, as people read it."""

    name: str
    title: str
    role: Role
    """`primary`: what the candidate had to be better at. `guarded`: what must not get worse. `shown`: the rest."""
    live: float
    candidate: float
    change: float
    """`candidate - live`; of tokens per second, `candidate / live`."""
    low: float | None
    """Of the 95% interval of the change; null with a single document."""
    high: float | None
    questions: int
    documents: int


class VerdictView(BaseModel):
    """A verdict, as people see it."""

    id: str
    collection: str
    dataset: str
    subject: Subject
    live: str
    """Name and version of the model in use then."""
    candidate: str
    goal: Goal
    outcome: Outcome
    reasons: tuple[str, ...]
    figures: list[FigureView]
    parity: Parity | None
    """How alike the two language models are, token by token."""
    created_at: datetime


@router.get("")
def list_verdicts(
    principal: CurrentPrincipal,
    runtime: TheRuntime,
    collection: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Listing[VerdictView]:
    """List the verdicts on the caller's own collections, the newest first."""
    found = runtime.verdicts.list(principal, collection=collection, limit=limit)
    return Listing(data=[view(each) for each in found])


@router.post("", status_code=202)
async def judge_candidate(order: Evaluation, principal: CurrentPrincipal, runtime: TheRuntime) -> Job:
    """Order the judging of a candidate and return its job."""
    plan = await run_in_threadpool(runtime.evaluations.preview, principal, order)
    if plan.goal != "search" and not await runtime.engine.ready():
        raise EngineUnavailable(
            "The language model, which the candidate is to be compared with, does not answer",
            fix="See `keepstone status`",
        )
    job_id = await run_in_threadpool(runtime.evaluations.submit, principal, order)
    return await run_in_threadpool(get_job, job_id, principal, runtime)


@router.post("/plan")
def plan_judging(order: Evaluation, principal: CurrentPrincipal, runtime: TheRuntime) -> EvaluationPlan:
    """Tell what a judging would take; nothing runs."""
    return runtime.evaluations.preview(principal, order)


@router.get("/{reference}")
def get_verdict(reference: str, principal: CurrentPrincipal, runtime: TheRuntime) -> VerdictView:
    """Return a verdict by its id, or by that of the job that came to it."""
    return view(runtime.verdicts.get(principal, reference))


def view(verdict: Verdict) -> VerdictView:
    """Return a verdict as clients see it."""
    return VerdictView(
        id=verdict.id,
        collection=verdict.collection,
        dataset=verdict.case.dataset,
        subject=verdict.case.subject,
        live=verdict.case.live,
        candidate=verdict.case.candidate,
        goal=verdict.case.goal,
        outcome=verdict.outcome,
        reasons=verdict.reasons,
        figures=[_figure(each) for each in verdict.figures],
        parity=verdict.parity,
        created_at=verdict.created_at,
    )


def _figure(figure: Figure) -> FigureView:
    effect = figure.effect
    return FigureView(
        name=figure.name,
        title=TITLES.get(figure.name, figure.name),
        role=figure.role,
        live=effect.live,
        candidate=effect.candidate,
        change=effect.value,
        low=effect.low,
        high=effect.high,
        questions=effect.questions,
        documents=effect.documents,
    )

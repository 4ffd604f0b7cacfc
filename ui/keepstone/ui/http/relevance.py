"""How well a collection is searched: its judgements, an evaluation, a sweep. Only who owns the collection may ask."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from keepstone.training.relevance import Adopted, Judgement, Report, TuningReport, Wanted
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.jobs import Job, get_job
from keepstone.ui.http.listings import Listing

router = APIRouter(prefix="/v1", tags=["evaluation"])

_Given = Annotated[list[Judgement], Field(min_length=1, max_length=1000)]
_K = Annotated[int, Field(ge=1, le=30)]


class NewJudgements(BaseModel, extra="forbid"):
    """Judgements to keep."""

    judgements: _Given


class Kept(BaseModel):
    """How many judgements a collection has."""

    judgements: int


class EvaluationOrder(BaseModel, extra="forbid"):
    """How to evaluate."""

    k: _K = 10
    """How many of the first places count."""
    judgements: _Given | None = None
    """Used instead of those that the collection has, and not kept."""
    questions: Wanted = "auto"
    """`judged`; `made` from the collection's passages; or `auto`: judged ones where there are any, else made ones."""


class TuningOrder(BaseModel, extra="forbid"):
    """How to compare ways of searching."""

    k: _K = 10
    """How many of the first places count."""
    questions: Wanted = "auto"
    """As for an evaluation."""
    recut: bool | None = None
    """Whether passages that are cut otherwise are tried; null: in collections of up to 20,000 passages."""
    adopt: bool = False
    """Whether to search in the best way from then on, if it is better beyond chance."""


@router.get("/collections/{name}/judgements")
def list_judgements(name: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Listing[Judgement]:
    """List the judgements that a collection has."""
    return Listing(data=runtime.judgements.list(principal, name))


@router.post("/collections/{name}/judgements")
def keep_judgements(name: str, new: NewJudgements, principal: CurrentPrincipal, runtime: TheRuntime) -> Kept:
    """Keep judgements; each takes the place of the one on the same question."""
    return Kept(judgements=runtime.judgements.put(principal, name, new.judgements))


@router.delete("/collections/{name}/judgements")
def forget_judgements(name: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Kept:
    """Forget all judgements of a collection; tell how many there were."""
    return Kept(judgements=runtime.judgements.clear(principal, name))


@router.post("/collections/{name}/evaluation", status_code=202)
def evaluate(name: str, order: EvaluationOrder, principal: CurrentPrincipal, runtime: TheRuntime) -> Job:
    """Measure in a job what search is worth on questions that were judged, or made; at most 500 of them."""
    job_id = runtime.measuring.submit(
        principal, name, k=order.k, judgements=order.judgements, questions=order.questions
    )
    return get_job(job_id, principal, runtime)


@router.get("/evaluations/{job_id}")
def get_evaluation(job_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Report:
    """Return what an evaluation came to."""
    return runtime.measuring.report(principal, job_id)


@router.post("/collections/{name}/tuning", status_code=202)
def tune(name: str, order: TuningOrder, principal: CurrentPrincipal, runtime: TheRuntime) -> Job:
    """Compare ways of searching, in a job."""
    job_id = runtime.tuning.submit(
        principal, name, k=order.k, questions=order.questions, recut=order.recut, adopt=order.adopt
    )
    return get_job(job_id, principal, runtime)


@router.get("/tunings/{job_id}")
def get_tuning(job_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> TuningReport:
    """Return what a comparison came to."""
    return runtime.tuning.report(principal, job_id)


@router.post("/tunings/{job_id}/adopt")
def adopt(job_id: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Adopted:
    """Search the collection from now on in the way that a comparison advises."""
    return runtime.tuning.adopt(principal, job_id)


@router.delete("/collections/{name}/adopted")
def undo(name: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Adopted:
    """Search a collection again as before its last adoption."""
    return runtime.adoption.undo(principal, name)

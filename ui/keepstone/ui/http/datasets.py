"""Datasets: order one from a collection, see what it holds, delete it. For who owns the collection."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from keepstone.platform.access import Principal
from keepstone.platform.errors import EngineUnavailable
from keepstone.training.data import Dataset, DatasetCard, DatasetConfig
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.jobs import Job, get_job
from keepstone.ui.http.listings import Listing

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


class DatasetView(BaseModel):
    """A dataset, as people see it."""

    id: str
    """Name and the beginning of the card's hash."""
    folder: str | None
    """Where its files are, on the machine of the app; for administrators."""
    card_sha256: str
    job: str | None
    """The job that built it last."""
    built_at: datetime | None
    card: DatasetCard


@router.get("")
def list_datasets(principal: CurrentPrincipal, runtime: TheRuntime) -> Listing[DatasetView]:
    """List the datasets of the caller's own collections, the newest first."""
    return Listing(data=[_view(each, principal) for each in runtime.datasets.list(principal)])


@router.post("", status_code=202)
async def build_dataset(order: DatasetConfig, principal: CurrentPrincipal, runtime: TheRuntime) -> Job:
    """Order a dataset and return the job that builds it."""
    builder = runtime.dataset_builder
    if builder.source_of(order) == "written" and not await runtime.engine.ready():
        raise EngineUnavailable(
            "The language model, which is to write the questions, does not answer",
            fix="See `keepstone status`; or take the questions from the documents: `keepstone data build --source "
            "sentences`",
        )
    job_id = await run_in_threadpool(builder.submit, principal, order)
    return await run_in_threadpool(get_job, job_id, principal, runtime)


@router.get("/{reference}")
def get_dataset(reference: str, principal: CurrentPrincipal, runtime: TheRuntime) -> DatasetView:
    """Return one dataset with its card."""
    return _view(runtime.datasets.get(principal, reference), principal)


@router.delete("/{reference}", status_code=204, response_class=Response)
def delete_dataset(reference: str, principal: CurrentPrincipal, runtime: TheRuntime) -> None:
    """Delete a dataset; models that were trained on it stay."""
    runtime.datasets.remove(principal, reference)


def _view(dataset: Dataset, principal: Principal) -> DatasetView:
    return DatasetView(
        id=dataset.id,
        folder=str(dataset.folder) if principal.administers else None,
        card_sha256=dataset.card_sha256,
        job=dataset.built.job if dataset.built else None,
        built_at=dataset.built.at if dataset.built else None,
        card=dataset.card,
    )

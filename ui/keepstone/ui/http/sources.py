"""Sources: places that a collection takes its files from by itself."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from keepstone.retrieval.sources import SourceInfo, SourceProblem
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.listings import Listing

router = APIRouter(prefix="/v1/collections/{name}/sources", tags=["sources"])


class NewSource(BaseModel, extra="forbid"):
    """A place to take files from."""

    location: Annotated[str, Field(max_length=1000)]
    """Path of a folder of the machine that Keepstone runs on, or a URL such as `s3://company/manuals`."""
    name: Annotated[str | None, Field(max_length=200)] = None
    """Begins the names of its documents; null: the last part of the location."""


class Look(BaseModel, extra="forbid"):
    """How a source is to be looked through."""

    empty: bool = False
    """Whether it is meant to be empty, so that all its documents may be deleted."""


class Ordered(BaseModel):
    """What does it."""

    job_id: str | None


@router.get("")
def list_sources(name: str, principal: CurrentPrincipal, runtime: TheRuntime) -> Listing[SourceInfo]:
    """List the sources of a collection; the caller needs to write in it."""
    return Listing(data=runtime.sources.of(principal, name))


@router.post("", status_code=202)
def add_source(name: str, new: NewSource, principal: CurrentPrincipal, runtime: TheRuntime) -> SourceInfo:
    """Let the collection take its files from a place; its `job_id` looks through it for the first time."""
    return runtime.sources.add(principal, name, new.location, new.name)


@router.get("/{source}/problems")
def list_problems(
    name: str,
    source: str,
    principal: CurrentPrincipal,
    runtime: TheRuntime,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Listing[SourceProblem]:
    """List the files of a source that could not be taken."""
    return Listing(data=runtime.sources.problems(principal, name, source, limit=limit))


@router.post("/{source}/sync", status_code=202)
def sync_source(
    name: str, source: str, principal: CurrentPrincipal, runtime: TheRuntime, look: Look | None = None
) -> Ordered:
    """Look through a source now."""
    return Ordered(job_id=runtime.sources.sync(principal, name, source, empty=look.empty if look else False))


@router.delete("/{source}")
def remove_source(
    name: str, source: str, principal: CurrentPrincipal, runtime: TheRuntime, documents: bool = False
) -> Ordered:
    """Take no more files from a source; with `documents`, the job of the answer deletes what was taken from it."""
    return Ordered(job_id=runtime.sources.remove(principal, name, source, documents=documents))

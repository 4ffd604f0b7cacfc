"""Collections: list, make, look at, delete, and who else may use them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from keepstone.retrieval.library import CollectionInfo
from keepstone.ui.http.dependencies import CurrentPrincipal, TheRuntime
from keepstone.ui.http.listings import Listing

router = APIRouter(prefix="/v1/collections", tags=["collections"])


class NewCollection(BaseModel, extra="forbid"):
    """A collection to make."""

    name: Annotated[str, Field(max_length=200)]
    description: Annotated[str, Field(max_length=2000)] = ""
    chunking: dict[str, Any] = {}
    """In what its documents are to be cut otherwise than the settings say: names and values as under `chunking` in
    the settings."""


class NewGrant(BaseModel, extra="forbid"):
    """A role to give."""

    principal: Annotated[str, Field(max_length=200)]
    """Name of the principal."""
    role: str
    """`reader`, `writer` or `owner`."""


@router.get("")
def list_collections(principal: CurrentPrincipal, runtime: TheRuntime) -> Listing[CollectionInfo]:
    """List the collections that the caller may read."""
    return Listing(data=runtime.library.collections(principal))


@router.post("", status_code=201)
def create_collection(new: NewCollection, principal: CurrentPrincipal, runtime: TheRuntime) -> CollectionInfo:
    """Make an empty collection."""
    return runtime.library.create_collection(principal, new.name, new.description, chunking=new.chunking)


@router.get("/{name}")
def get_collection(name: str, principal: CurrentPrincipal, runtime: TheRuntime) -> CollectionInfo:
    """Return one collection, by name or id."""
    return runtime.library.collection(principal, name)


@router.put("/{name}/chunking", status_code=202)
def rechunk(
    name: str, chunking: dict[str, Any], principal: CurrentPrincipal, runtime: TheRuntime
) -> dict[str, list[str]]:
    """Have the documents of a collection cut in another way: `{}` is as the settings say.

    The answer has the `jobs` that do it; until they come to a document, its old passages are found.
    """
    return {"jobs": runtime.ingestion.rechunk(principal, name, chunking)}


@router.delete("/{name}", status_code=204, response_class=Response)
def delete_collection(name: str, principal: CurrentPrincipal, runtime: TheRuntime) -> None:
    """Delete a collection with all its documents."""
    runtime.library.delete_collection(principal, name)


@router.put("/{name}/grants", status_code=204, response_class=Response)
def grant(name: str, new: NewGrant, principal: CurrentPrincipal, runtime: TheRuntime) -> None:
    """Give somebody a role in the collection."""
    runtime.library.grant(principal, name, new.principal, new.role)


@router.delete("/{name}/grants/{whom}", status_code=204, response_class=Response)
def revoke(name: str, whom: str, principal: CurrentPrincipal, runtime: TheRuntime) -> None:
    """Take somebody's role away."""
    runtime.library.revoke(principal, name, whom)

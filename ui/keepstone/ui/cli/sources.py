"""`keepstone sources`: add, list, sync, remove."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from keepstone.ui.cli.client import Api, connect
from keepstone.ui.cli.confirm import Yes, confirm
from keepstone.ui.cli.output import ago, emit, note, table
from keepstone.ui.cli.progress import wait_for_job

app = typer.Typer(help="Folders and stores that a collection takes its files from by itself.", no_args_is_help=True)
Collection = Annotated[str, typer.Option("--collection", "-c", help="Name of the collection.")]
Source = Annotated[str, typer.Argument(metavar="NAME", help="Name of the source, as `sources list` shows it.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is looked through.")]


@app.command()
def add(
    location: Annotated[str, typer.Argument(help="A folder, or a URL such as s3://company/manuals.")],
    collection: Collection,
    name: Annotated[
        str | None, typer.Option("--name", help="Begins the names of its documents; else the location's last part.")
    ] = None,
    wait: Wait = True,
) -> None:
    """Take files from a folder or a store from now on: new and changed ones are read, vanished ones deleted.

    An administrator allows places: sources.allowed_folders and sources.stores.
    """
    with connect() as api:
        added = api.post(_path(collection), {"location": location, "name": name})
        if wait:
            _wait(api, collection, added["job_id"])
        found = _found(api, collection, added["id"])
    emit(found, lambda: _show([found]))


@app.command("list")
def list_(collection: Collection) -> None:
    """List the sources of a collection, and what could not be taken from them."""
    with connect() as api:
        found = api.get(_path(collection))["data"]
        for each in found:
            each["not_taken"] = api.get(_path(collection, each["id"], "problems"))["data"] if each["problems"] else []
    emit(found, lambda: _show(found))


@app.command()
def sync(
    source: Source,
    collection: Collection,
    empty: Annotated[bool, typer.Option("--empty", help="It is meant to be empty: delete all its documents.")] = False,
    wait: Wait = True,
) -> None:
    """Look through a source now."""
    with connect() as api:
        job_id = api.post(_path(collection, source, "sync"), {"empty": empty})["job_id"]
        if wait:
            _wait(api, collection, job_id)
        found = _found(api, collection, source)
    emit(found, lambda: _show([found]))


@app.command()
def remove(
    source: Source,
    collection: Collection,
    documents: Annotated[bool, typer.Option("--documents", help="Delete what was taken from it, too.")] = False,
    yes: Yes = False,
) -> None:
    """Take no more files from a source; its documents stay, unless you say otherwise."""
    along = " and its documents" if documents else ""
    confirm(f"Remove the source {source!r}{along}?", yes)
    with connect() as api:
        path = _path(collection, source)
        job_id = api.delete(f"{path}?documents={str(documents).lower()}")["job_id"]
        if job_id:
            _wait(api, collection, job_id)
    emit({"removed": source, "job_id": job_id}, f"Removed {source!r}{along}.")


def _path(collection: str, *parts: str) -> str:
    return "/".join(
        ["/v1/collections", quote(collection, safe=""), "sources", *(quote(part, safe="") for part in parts)]
    )


def _wait(api: Api, collection: str, job_id: str) -> None:
    """Return when a look has ended, and what it found is read; exit when it failed."""
    job = wait_for_job(api, job_id, before="Looking through it", doing="Files")
    for reading in api.get("/v1/jobs", collection=collection, limit=500)["data"]:
        if reading["kind"] == "ingest" and reading["state"] in ("queued", "running"):
            wait_for_job(api, reading["id"], before="Reading", doing="Reading")
    if job["state"] != "succeeded":
        note(job["error"] or f"It was {job['state']}.", "red")
        raise typer.Exit(1)


def _found(api: Api, collection: str, source: str) -> Any:
    return next(each for each in api.get(_path(collection))["data"] if source in (each["id"], each["name"]))


def _show(found: list[Any]) -> None:
    rows = [
        (each["name"], each["location"], each["files"], each["problems"], _state(each), ago(each["checked_at"]))
        for each in found
    ]
    empty = "No sources. Add one: keepstone sources add LOCATION --collection NAME"
    table(["Name", "Location", ">Files", ">Not taken", "State", "Looked through"], rows, empty=empty)
    for each in found:
        if each["error"]:
            note(f"{each['name']}: {each['error']}", "red")
        for problem in each.get("not_taken", ()):
            note(f"{each['name']}/{problem['path']}: {problem['error']}", "red")


def _state(source: dict[str, Any]) -> str:
    if source["leaving"]:
        return "being removed"
    if source["looking"]:
        return "being looked through"
    return "failed" if source["error"] else "watched"

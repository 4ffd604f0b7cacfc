"""`keepstone collections`: list, create, delete, grant, revoke."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from keepstone.ui.cli.client import connect
from keepstone.ui.cli.confirm import Yes, confirm
from keepstone.ui.cli.output import ago, emit, table

app = typer.Typer(help="Sets of documents that are asked together.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the collection.")]
Person = Annotated[str, typer.Argument(help="Name of the principal.")]


@app.command("list")
def list_() -> None:
    """List the collections that you may read."""
    with connect() as api:
        found = api.get("/v1/collections")["data"]
    rows = [
        (
            each["name"],
            each["documents"],
            each["chunks"],
            each["encoder"],
            ago(each["created_at"]),
            each["description"],
        )
        for each in found
    ]
    empty = "No collections yet. Make one: keepstone ingest PATH --collection NAME"
    emit(found, lambda: table(["Name", ">Documents", ">Passages", "Encoder", "Made", "Description"], rows, empty=empty))


@app.command()
def create(name: Name, description: Annotated[str, typer.Option("--description", help="What is in it.")] = "") -> None:
    """Make an empty collection."""
    with connect() as api:
        made = api.post("/v1/collections", {"name": name, "description": description})
    emit(made, f"Made the collection {made['name']!r}.")


@app.command()
def delete(name: Name, yes: Yes = False) -> None:
    """Delete a collection with all its documents."""
    with connect() as api:
        path = f"/v1/collections/{quote(name, safe='')}"
        info = api.get(path)
        confirm(f"Delete {info['name']!r} with its {info['documents']} documents?", yes)
        api.delete(path)
    emit({"deleted": info["name"]}, f"Deleted {info['name']!r}.")


@app.command()
def grant(
    name: Name,
    to: Person,
    role: Annotated[str, typer.Option("--role", help="reader, writer or owner.")] = "reader",
) -> None:
    """Give somebody a role in a collection."""
    with connect() as api:
        api.put(f"/v1/collections/{quote(name, safe='')}/grants", {"principal": to, "role": role})
    emit({"collection": name, "principal": to, "role": role}, f"{to} is now {role} of {name!r}.")


@app.command()
def revoke(name: Name, whom: Person) -> None:
    """Take somebody's role away."""
    with connect() as api:
        api.delete(f"/v1/collections/{quote(name, safe='')}/grants/{quote(whom, safe='')}")
    emit({"collection": name, "principal": whom}, f"{whom} has no role in {name!r} any more.")

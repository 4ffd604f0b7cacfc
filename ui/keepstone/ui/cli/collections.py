"""`keepstone collections`: list, show, create, rechunk, delete, grant, revoke."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from keepstone.platform.errors import InvalidInput
from keepstone.ui.cli.client import connect
from keepstone.ui.cli.confirm import Yes, confirm
from keepstone.ui.cli.output import ago, emit, fields, say, table

app = typer.Typer(help="Sets of documents that are asked together.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the collection.")]
Person = Annotated[str, typer.Argument(help="Name of the principal.")]
ChunkerName = Annotated[
    str | None, typer.Option("--chunker", help="What cuts its documents, as the setting chunking.chunker has it.")
]
Options = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of chunking, such as max_tokens=300.")
]


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
            each["chunking"]["chunker"],
            ago(each["created_at"]),
            each["description"],
        )
        for each in found
    ]
    empty = "No collections yet. Make one: keepstone ingest PATH --collection NAME"
    heads = ["Name", ">Documents", ">Passages", "Encoder", "Chunker", "Made", "Description"]
    emit(found, lambda: table(heads, rows, empty=empty))


@app.command()
def show(name: Name) -> None:
    """Show a collection: what is in it, how it is cut and searched, and what was adopted for it."""
    with connect() as api:
        info = api.get(f"/v1/collections/{quote(name, safe='')}")
    emit(info, lambda: _show(info))


@app.command()
def create(
    name: Name,
    description: Annotated[str, typer.Option("--description", help="What is in it.")] = "",
    chunker: ChunkerName = None,
    options: Options = None,
) -> None:
    """Make an empty collection."""
    order = {"name": name, "description": description, "chunking": _chunking(chunker, options)}
    with connect() as api:
        made = api.post("/v1/collections", order)
    emit(made, f"Made the collection {made['name']!r}.")


@app.command()
def rechunk(name: Name, chunker: ChunkerName = None, options: Options = None) -> None:
    """Cut the documents of a collection in another way; without options, as the settings say."""
    with connect() as api:
        ordered = api.put(f"/v1/collections/{quote(name, safe='')}/chunking", _chunking(chunker, options))
    watch = f"Its old passages are found until the new ones are there. Watch: keepstone jobs list --collection {name!r}"
    emit(ordered, watch if ordered["jobs"] else f"{name!r} has no documents yet; those to come are cut so.")


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


def _show(info: Mapping[str, Any]) -> None:
    adopted = info["adopted"]
    own = ", ".join(f"{name} = {value}" for name, value in (info["own_search"] or {}).items())
    fields(
        {
            "Collection": info["name"],
            "Description": info["description"] or None,
            "Documents": info["documents"],
            "Passages": info["chunks"],
            "Encoder": info["encoder"],
            "Cut": f"{info['chunking']['chunker']}, at most {info['chunking']['max_tokens']} tokens"
            + (" (its own choice)" if info["own_chunking"] else ""),
            "Searched": own or "as the settings say",
            "Adopted": f"{ago(adopted['at'])}, from keepstone tune show {adopted['tuning']}" if adopted else None,
        }
    )
    if adopted:
        say(f"To undo it: keepstone tune undo --collection {info['name']!r}")


def _chunking(chunker: str | None, options: list[str] | None) -> dict[str, str]:
    chosen = {} if chunker is None else {"chunker": chunker}
    for option in options or ():
        name, equals, value = option.partition("=")
        if not equals:
            raise InvalidInput(f"--set {option} has no value", fix="Write --set NAME=VALUE, such as max_tokens=300")
        chosen[name.strip()] = value.strip()
    return chosen

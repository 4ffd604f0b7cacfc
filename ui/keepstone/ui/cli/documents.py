"""`keepstone documents`: list, show, delete, retry."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any
from urllib.parse import quote

import typer

from keepstone.platform.errors import InvalidInput
from keepstone.ui.cli.client import connect
from keepstone.ui.cli.confirm import Yes, confirm
from keepstone.ui.cli.output import ago, clean, console, emit, fields, note, size, table

app = typer.Typer(help="The documents of a collection.", no_args_is_help=True)
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, as `documents list` shows them.")]


@app.command("list")
def list_(
    collection: Annotated[str, typer.Option("--collection", "-c", help="Name of the collection.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 1000,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="queued, loading, encoding, ready, failed or cancelled.")
    ] = None,
) -> None:
    """List documents with their states."""
    with connect() as api:
        path = f"/v1/collections/{quote(collection, safe='')}/documents"
        found = list(islice(api.pages(path, limit=min(limit, 1000), state=state), limit))
    rows = [
        (each["id"], each["name"], each["state"], each["chunks"], size(each["size"]), ago(each["updated_at"]))
        for each in found
    ]

    def human() -> None:
        table(["Id", "Name", "State", ">Passages", ">Size", "Changed"], rows, empty="No documents.")
        for each in found:
            if each["state"] == "failed":
                note(f"{each['name']}: {each['error']}", "red")

    emit(found, human)


@app.command()
def show(
    document: Annotated[str, typer.Argument(metavar="ID", help="Id, as `documents list` shows it.")],
    text: Annotated[bool, typer.Option("--text", help="Print the whole text.")] = False,
) -> None:
    """Show one document, or its text."""
    with connect() as api:
        path = f"/v1/documents/{quote(document, safe='')}"
        if text:
            whole = api.get(f"{path}/text")
            emit(whole, lambda: console().print(clean(whole["text"]), soft_wrap=True))
            return
        info = api.get(path)
    emit(info, lambda: fields({name.replace("_", " "): value for name, value in info.items()}))


@app.command()
def delete(documents: Ids, yes: Yes = False) -> None:
    """Delete documents; no answer will use them any more."""
    with connect() as api:
        infos = [api.get(f"/v1/documents/{quote(each, safe='')}") for each in documents]
        names = ", ".join(repr(info["name"]) for info in infos[:5]) + (", …" if len(infos) > 5 else "")
        confirm(f"Delete {names}?", yes)
        deleted = [api.delete(f"/v1/documents/{info['id']}") for info in infos]
    emit(deleted, "\n".join(f"Deleted {info['name']!r}." for info in deleted))


@app.command()
def retry(
    documents: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Which ones.")] = None,
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="All that failed in it.")] = None,
) -> None:
    """Read failed and cancelled documents again."""
    if bool(documents) == bool(collection):
        raise InvalidInput("Name either documents or a collection", fix="keepstone documents retry ID, or -c NAME")
    with connect() as api:
        if collection:
            outcomes = [api.post(f"/v1/collections/{quote(collection, safe='')}/retry")]
        else:
            outcomes = [api.post(f"/v1/documents/{quote(each, safe='')}/retry") for each in documents or ()]
    queued: list[Any] = [each for outcome in outcomes for each in outcome["documents"]]
    jobs = [outcome["job_id"] for outcome in outcomes if outcome["job_id"]]
    count = f"{len(queued)} document{'' if len(queued) == 1 else 's'}"
    human = f"Queued {count} again. Watch: keepstone jobs show {jobs[0]}" if jobs else "Nothing had failed."
    emit({"documents": queued, "jobs": jobs}, human)

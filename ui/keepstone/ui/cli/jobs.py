"""`keepstone jobs`: list, show, cancel, retry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from keepstone.ui.cli.client import connect
from keepstone.ui.cli.output import ago, emit, fields, table

app = typer.Typer(help="Long work: reading documents.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="Id, as `jobs list` shows it.")]


@app.command("list")
def list_(
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Only those of a collection.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 20,
) -> None:
    """List jobs, newest first."""
    with connect() as api:
        found = api.get("/v1/jobs", collection=collection, limit=limit)["data"]
    rows = [
        (each["id"], each["kind"], each["collection"], _state(each), _progress(each), ago(each["updated_at"]))
        for each in found
    ]
    emit(found, lambda: table(["Id", "Kind", "Collection", "State", ">Done", "Changed"], rows, empty="No jobs."))


@app.command()
def show(job: Id) -> None:
    """Show one job with the documents that failed in it."""
    with connect() as api:
        found = api.get(f"/v1/jobs/{quote(job, safe='')}")
        documents = api.get(f"/v1/jobs/{found['id']}/documents")["data"] if found["kind"] == "ingest" else []
    failed = [each for each in documents if each["state"] in ("failed", "cancelled")]

    def human() -> None:
        states = ", ".join(f"{count} {state}" for state, count in (found["documents"] or {}).items())
        shown = {name: value for name, value in found.items() if name not in ("done", "total", "documents")}
        fields({**shown, "progress": _progress(found), "documents": states or None})
        if failed:
            table(["Document", "State", "Why"], [(each["name"], each["state"], each["error"]) for each in failed])

    emit(found | {"failed": failed}, human)


@app.command()
def cancel(job: Id) -> None:
    """Stop a job after the unit in hand."""
    with connect() as api:
        found = api.post(f"/v1/jobs/{quote(job, safe='')}/cancel")
    ended = found["state"] not in ("queued", "running")
    emit(found, f"The job had ended: {found['state']}." if ended else "The job is being stopped.")


@app.command()
def retry(job: Id) -> None:
    """Run a failed or cancelled job again."""
    with connect() as api:
        found = api.post(f"/v1/jobs/{quote(job, safe='')}/retry")
    emit(found, f"The job is {found['state']} again.")


def _state(job: Mapping[str, Any]) -> str:
    return f"{job['state']}, waiting" if job["waiting"] else str(job["state"])


def _progress(job: Mapping[str, Any]) -> str:
    return f"{job['done']}/{job['total']}" if job["total"] else ""

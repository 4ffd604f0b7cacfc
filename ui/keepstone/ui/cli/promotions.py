"""`keepstone models promote`, `rollback` and `history`: which models are live, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from keepstone.platform.errors import KeepstoneError
from keepstone.ui.cli.client import Api, connect
from keepstone.ui.cli.output import ago, emit, table
from keepstone.ui.cli.progress import wait_for_job

Whose = Annotated[str | None, typer.Option("--collection", "-c", help="Whose encoder; leave it out for other models.")]

_PATH = "/v1/models/promotions"


def promote(
    model: Annotated[str, typer.Argument(help="NAME or NAME@VERSION, as `models list` shows them.")],
    *,
    collection: Whose = None,
    verdict: Annotated[str | None, typer.Option("--verdict", help="On which verdict; by default the newest.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Without a verdict that says so.")] = False,
) -> None:
    """Make a model live: an encoder for one collection, a language model or an adapter for all answers."""
    order = {"model": model, "collection": collection, "verdict_id": verdict, "force": force}
    with connect() as api:
        _wait(api, api.post(_PATH, order), doing=f"Promoting {model}")
        [promoted] = api.get(_PATH, limit=1)["data"]
    back = f"keepstone models rollback{_option(promoted)}"
    where = f" for {promoted['collection']}" if promoted["collection"] else ""
    emit(promoted, f"{promoted['model']} is live{where}, instead of {promoted['previous']}. The way back: {back}")


def rollback(collection: Whose = None) -> None:
    """Take back the last promotion: what was live before it is live again."""
    with connect() as api:
        undoing = api.get(f"{_PATH}/last", collection=collection)
        _wait(
            api, api.post(f"{_PATH}/rollback", {"collection": collection}), doing=f"Going back from {undoing['model']}"
        )
    where = f" for {undoing['collection']}" if undoing["collection"] else ""
    emit(undoing, f"{undoing['previous']} is live again{where}.")


def history(limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 20) -> None:
    """List promotions, newest first."""
    with connect() as api:
        found = api.get(_PATH, limit=limit)["data"]
    rows = [
        (each["model"], each["collection"] or "all answers", each["previous"], _state(each), ago(each["created_at"]))
        for each in found
    ]
    heads = ["Model", "For", "Instead of", "State", "Promoted"]
    emit(found, lambda: table(heads, rows, empty="Nothing was promoted yet."))


def _wait(api: Api, job: dict[str, Any], *, doing: str) -> None:
    """Return once the job has done it."""
    job = wait_for_job(api, job["id"], before=doing, doing="Encoding the collection, passage")
    if job["state"] != "succeeded":
        raise KeepstoneError(f"Nothing has changed: {job['error'] or job['state']}".rstrip("."))


def _option(promotion: Mapping[str, Any]) -> str:
    return f" --collection {promotion['collection']!r}" if promotion["collection"] else ""


def _state(promotion: Mapping[str, Any]) -> str:
    if promotion["undone_at"]:
        return "rolled back" if promotion["live_at"] else "given up"
    return "live" if promotion["live_at"] else "under way"

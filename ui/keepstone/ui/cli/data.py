"""`keepstone data`: build, list, show, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from keepstone.platform.errors import KeepstoneError
from keepstone.ui.cli.client import Api, connect
from keepstone.ui.cli.confirm import Yes, confirm
from keepstone.ui.cli.output import ago, emit, fields, table
from keepstone.ui.cli.progress import wait_for_job

app = typer.Typer(help="Datasets: questions and answers to train and test models with.", no_args_is_help=True)
Reference = Annotated[str, typer.Argument(metavar="DATASET", help="Id or name, as `data list` shows it.")]


@app.command()
def build(
    collection: Annotated[str, typer.Option("--collection", "-c", help="From which collection; it must be your own.")],
    *,
    name: Annotated[str | None, typer.Option("--name", help="Of the dataset; by default the collection's.")] = None,
    source: Annotated[
        str, typer.Option("--source", help="`written` by the model, `sentences` of the documents, or `auto`.")
    ] = "auto",
    passages: Annotated[int, typer.Option("--passages", help="About how many passages to ask.")] = 300,
    negatives: Annotated[int, typer.Option("--negatives", help="Passages beside the right one, per question.")] = 4,
    test_share: Annotated[float, typer.Option("--test-share", help="Share of the passages held out.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same dataset.")] = 0,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
) -> None:
    """Make a dataset of a collection, and of what people thought of its answers."""
    order = {
        "collection": collection,
        "name": name,
        "source": source,
        "passages": passages,
        "negatives": negatives,
        "test_share": test_share,
        "seed": seed,
    }
    with connect() as api:
        job = api.post("/v1/datasets", order)
        if detach:
            later = "It is built when Keepstone runs: keepstone up." if api.in_process else "It is being built."
            emit(job, f"{later} Watch: keepstone jobs show {job['id']}")
            return
        dataset = _wait(api, job["id"])
    emit(dataset, lambda: _show(dataset))


@app.command("list")
def list_() -> None:
    """List the datasets of your own collections, newest first."""
    with connect() as api:
        found = api.get("/v1/datasets")["data"]
    rows = [
        (
            each["id"],
            each["card"]["collection"],
            each["card"]["question_source"],
            _rows(each, "retrieval/train.jsonl"),
            _rows(each, "retrieval/test.jsonl"),
            ago(each["built_at"]) if each["built_at"] else "",
        )
        for each in found
    ]
    empty = "No datasets yet. Build one: keepstone data build --collection NAME"
    emit(found, lambda: table(["Id", "Collection", "Questions", ">Train", ">Test", "Built"], rows, empty=empty))


@app.command()
def show(dataset: Reference) -> None:
    """Show what a dataset holds and what was left out."""
    with connect() as api:
        found = api.get(f"/v1/datasets/{quote(dataset, safe='')}")
    emit(found, lambda: _show(found))


@app.command()
def delete(dataset: Reference, yes: Yes = False) -> None:
    """Delete a dataset. Models that were trained on it stay."""
    with connect() as api:
        path = f"/v1/datasets/{quote(dataset, safe='')}"
        found = api.get(path)
        confirm(f"Delete the dataset {found['id']!r}?", yes)
        api.delete(path)
    emit({"deleted": found["id"]}, f"Deleted {found['id']!r}.")


def _wait(api: Api, job_id: str) -> Any:
    """Return the dataset once the job has built it."""
    job = wait_for_job(api, job_id, before="Reading the collection", doing="Building: step")
    if job["state"] != "succeeded":
        raise KeepstoneError(f"No dataset was built: {job['error']}".rstrip("."))
    return next(each for each in api.get("/v1/datasets")["data"] if each["job"] == job_id)


def _show(dataset: Mapping[str, Any]) -> None:
    card = dataset["card"]
    sides = ", ".join(f"{card['documents'][side]} {side}" for side in ("train", "test"))
    written = {"written": f"written by {card['model']}", "sentences": "taken from the documents' own sentences"}
    fields(
        {
            "Dataset": dataset["id"],
            "Folder": dataset["folder"],
            "Collection": card["collection"],
            "Documents": sides,
            "Passages": card["passages"],
            "Questions": written[card["question_source"]],
            "Encoder": card["encoder"],
            "Seed": card["seed"],
        }
    )
    table(["File", ">Rows"], [(name, each["rows"]) for name, each in card["files"].items()])
    if card["kinds"]:
        table(["Kind of question", ">Rows"], list(card["kinds"].items()))
    if card["dropped"]:
        table(["Left out because", ">Times"], [(why.replace("_", " "), n) for why, n in card["dropped"].items()])


def _rows(dataset: Mapping[str, Any], name: str) -> int:
    return int(dataset["card"]["files"][name]["rows"])

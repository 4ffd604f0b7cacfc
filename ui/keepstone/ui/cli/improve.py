"""`keepstone improve` and `keepstone reports`: better models from a collection in one go, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from keepstone.platform.errors import KeepstoneError
from keepstone.ui.cli.client import Api, connect
from keepstone.ui.cli.output import ago, emit, note, say, table
from keepstone.ui.cli.progress import progress_lines
from keepstone.ui.cli.runs import Detach, PlanOnly, options, span

app = typer.Typer(help="Reports of improvements.", no_args_is_help=True)
_POLL_S = 1.0
_OPEN = ("queued", "running")


def improve(
    collection: Annotated[str, typer.Option("--collection", "-c", help="To learn from; it must be your own.")],
    *,
    make: Annotated[
        list[str] | None,
        typer.Option(
            "--make",
            help="What to train: `embedding`, `sft`, `quantize`; may be repeated. By default an encoder, and an "
            "adapter where the language model is large and there is a GPU.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="To use as it is; by default a new one is built.")
    ] = None,
    no_promote: Annotated[
        bool, typer.Option("--no-promote", help="Do not put into use what passed; somebody does that later.")
    ] = False,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PART.KEY=VALUE", help="An option, such as embedding.epochs=2 or dataset.passages=500."
        ),
    ] = None,
    plan: PlanOnly = False,
    detach: Detach = False,
) -> None:
    """Make better models from a collection, judge them, and put into use what is better beyond chance."""
    from keepstone.training.improve.config import options_of

    order = {
        "collection": collection,
        "recipes": make or [],
        "dataset": dataset,
        "promote": not no_promote,
        "options": options_of(options(values or [])),
    }
    with connect() as api:
        if plan:
            steps = api.post("/v1/improvements/plan", order)["data"]
            emit(steps, lambda: _show_plan(steps))
            return
        begun = api.post("/v1/improvements", order)
        if detach:
            when = "It begins when Keepstone runs: keepstone up." if api.in_process else "It is under way."
            emit(begun, f"{when} Watch: keepstone reports show {begun['id']}")
            return
        _follow(api, begun)


@app.command("list")
def list_(limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 20) -> None:
    """List improvements, newest first."""
    with connect() as api:
        found = api.get("/v1/improvements", limit=limit)["data"]
    rows = [(each["id"], each["collection"], each["state"], each["summary"], ago(each["created_at"])) for each in found]
    empty = "None yet. Order one: keepstone improve --collection NAME"
    emit(found, lambda: table(["Id", "Collection", "State", "Outcome", "Begun"], rows, empty=empty))


@app.command()
def show(
    report: Annotated[str, typer.Argument(metavar="ID", help="Id, as `reports list` shows it.")],
    form: Annotated[
        Literal["md", "html"], typer.Option("--form", help="`md`: Markdown. `html`: one page with plots.")
    ] = "md",
) -> None:
    """Print a report."""
    path = f"/v1/improvements/{quote(report, safe='')}"
    with connect() as api:
        found = api.get(path)
        text = api.text(f"{path}/report", form=form)
    emit(found, lambda: say(text))


def _follow(api: Api, begun: Mapping[str, Any]) -> None:
    path = f"/v1/improvements/{begun['id']}"
    note(f"Improvement {begun['id']} of {begun['collection']}", "dim")
    shown = ""
    try:
        with progress_lines() as progress:
            while (now := api.get(path))["state"] in _OPEN:
                line = _line(api, now)
                if line != shown:
                    progress(line)
                    shown = line
                time.sleep(_POLL_S)
    except KeyboardInterrupt:
        note(f"It goes on. Watch: keepstone reports show {begun['id']}; stop: keepstone jobs cancel {begun['id']}")
        raise
    if now["state"] != "succeeded":
        raise KeepstoneError(
            (now["error"] or f"The improvement was {now['state']}").rstrip("."),
            fix=f"Try again where it was: `keepstone jobs retry {begun['id']}`",
        )
    emit(now, lambda: _show(now))


def _line(api: Api, now: Mapping[str, Any]) -> str:
    """Return what is going on in one line."""
    if now["step"] is None:
        return "Waiting for what runs before it"
    share = f" {100 * now['done'] // now['total']}%" if now["total"] else ""
    if now["step"].startswith("train") and now["step_job"]:
        run = api.get(f"/v1/runs/{quote(now['step_job'], safe='')}")
        if run["of"]:
            return f"  {now['step']}: step {run['step']} of {run['of']}, loss {run['loss']:.4f};{share} of all"
    return f"  {now['step']};{share} of all" if share else now["step"]


def _show(now: Mapping[str, Any]) -> None:
    record = now["record"]
    say(now["summary"], "bold")
    for made in record["candidates"]:
        for reason in (made["judgement"] or {"reasons": ()})["reasons"]:
            say(f"  {reason}")
    rows = [(stage["name"], stage["state"], span(stage["seconds"]), stage["said"]) for stage in record["stages"]]
    table(["Step", "State", ">Time", ""], rows)
    say(f"The report: keepstone reports show {now['id']}")


def _show_plan(steps: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            step["name"],
            f"{step['rows']:,}" if step["rows"] else "",
            f"{step['tokens']:,}" if step["tokens"] else "",
            f"{step['memory_gib']:.1f} GiB" if step["memory_gib"] else "",
            span(step["seconds"]),
        )
        for step in steps
    ]
    total = sum(step["seconds"] for step in steps)
    table(["Step", ">Rows", ">Tokens", ">Memory", ">Time"], [*rows, ("all", "", "", "", span(total))])
    for warning in dict.fromkeys(each for step in steps for each in step["warnings"]):
        say(warning, "yellow")

"""`keepstone train`, `keepstone quantize` and `keepstone runs`: make models, and watch them being made."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from keepstone.platform.errors import InvalidInput, KeepstoneError
from keepstone.ui.cli.client import Api, connect
from keepstone.ui.cli.output import ago, emit, fields, mode, note, notes, say, table

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(help="Models being trained.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="Id, as `runs list` shows it.")]
Dataset = Annotated[str, typer.Option("--dataset", "-d", help="Which dataset to learn from.")]
Name = Annotated[str | None, typer.Option("--name", help="Of the new model; by default that of the old, and more.")]
Values = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the recipe; may be repeated.")
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Only tell what it would take.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")]

_POLL_S = 1.0
_OPEN = ("queued", "running")


def train(
    recipe: Annotated[str, typer.Argument(help="`embedding`, `reranker`, `sft` or `quantize`.")],
    *,
    dataset: Dataset,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="To start from; by default the one in use.")
    ] = None,
    name: Name = None,
    values: Values = None,
    plan: PlanOnly = False,
    detach: Detach = False,
) -> None:
    """Train a model on a dataset. The result is a new model; the one in use stays as it is."""
    order = {"recipe": recipe, "dataset": dataset, "base": model, "name": name, "config": options(values or [])}
    with connect() as api:
        if plan:
            _show_plan(api.post("/v1/runs/plan", order))
            return
        run = api.post("/v1/runs", order)
        _detached(api, run) if detach else _follow(api, run)


def quantize(
    model: Annotated[str, typer.Argument(help="Language model to quantize.")],
    *,
    dataset: Dataset,
    name: Name = None,
    values: Values = None,
    plan: PlanOnly = False,
    detach: Detach = False,
) -> None:
    """Make a smaller, faster version of a language model: 8-bit weights and activations."""
    train("quantize", dataset=dataset, model=model, name=name, values=values, plan=plan, detach=detach)


@app.command("list")
def list_(limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 20) -> None:
    """List runs, newest first."""
    with connect() as api:
        found = api.get("/v1/runs", limit=limit)["data"]
    rows = [
        (
            each["id"],
            each["recipe"],
            each["dataset"],
            each["state"],
            _progress(each),
            _loss(each),
            ago(each["updated_at"]),
        )
        for each in found
    ]
    heads = ["Id", "Recipe", "Dataset", "State", ">Step", ">Loss", "Changed"]
    emit(found, lambda: table(heads, rows, empty="No runs."))


@app.command()
def show(run: Id) -> None:
    """Show one run."""
    with connect() as api:
        found = api.get(f"/v1/runs/{quote(run, safe='')}")
        curve = api.get(f"/v1/runs/{quote(run, safe='')}/curve")["data"]
    emit(found | {"curve": curve}, lambda: _show(found))


@app.command()
def cancel(run: Id) -> None:
    """Stop a run for good."""
    with connect() as api:
        found = api.post(f"/v1/runs/{quote(run, safe='')}/cancel")
    ended = found["state"] not in _OPEN
    emit(found, f"The run had ended: {found['state']}." if ended else "The run is being stopped.")


def options(values: list[str]) -> dict[str, str]:
    """Return what `--set` was given.

    Raises:
        InvalidInput: one has no value.
    """
    wrong = next((each for each in values if "=" not in each), None)
    if wrong is not None:
        raise InvalidInput(f"--set {wrong} has no value", fix=f"Write --set {wrong}=VALUE")
    return {name.strip(): value.strip() for name, _, value in (each.partition("=") for each in values)}


def _show_plan(plan: Mapping[str, Any]) -> None:
    def human() -> None:
        fields(
            {
                "Rows": f"{plan['rows']:,}",
                "Tokens": f"{plan['tokens']:,}",
                "Steps": f"{plan['steps']:,}",
                "Memory": f"about {plan['memory_gib']:.1f} GiB",
                "Time": f"about {span(plan['seconds'])} on this machine's {plan['device']}",
            }
        )
        for warning in plan["warnings"]:
            say(warning, "yellow")

    emit(plan, human)


def _detached(api: Api, run: Mapping[str, Any]) -> None:
    when = "It begins when Keepstone runs: keepstone up." if api.in_process else "It is under way."
    emit(run, f"Run {run['id']}. {when} Watch: keepstone runs show {run['id']}")


def _follow(api: Api, run: dict[str, Any]) -> None:
    note(f"Run {run['id']}: {run['recipe']} of {run['base']} on {run['dataset']}", "dim")
    path = f"/v1/runs/{run['id']}"
    try:
        with _bar() as show_progress:
            while run["state"] in _OPEN:
                time.sleep(_POLL_S)
                run = api.get(path)
                show_progress(run)
    except KeyboardInterrupt:
        goes_on = "It goes on when Keepstone runs: keepstone up." if api.in_process else "It goes on."
        note(f"{goes_on} Stop it for good: keepstone runs cancel {run['id']}")
        raise
    if run["state"] != "succeeded":
        raise KeepstoneError(
            run["error"] or f"The run was {run['state']}", fix=f"See `keepstone runs show {run['id']}`"
        )
    emit(run, lambda: _show(run))


def _show(run: Mapping[str, Any]) -> None:
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in run["metrics"].items())
    fields(
        {
            "Run": run["id"],
            "State": run["state"],
            "Why": run["error"],
            "Recipe": run["recipe"],
            "Dataset": run["dataset"],
            "From": run["base"],
            "Model": run["model"],
            "Step": _progress(run) or None,
            "Loss": _loss(run) or None,
            "Measured": metrics or None,
            "Trained for": span(run["seconds"]) if run["seconds"] else None,
        }
    )


@contextmanager
def _bar() -> Iterator[Any]:
    terminal = notes()
    if mode.json or not terminal.is_terminal:
        yield lambda _run: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        *(BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()),
        TextColumn("{task.fields[detail]}", style="dim", markup=False),
    )
    with Progress(*columns, console=terminal) as bar:
        yield _mover(bar)


def _mover(bar: Progress) -> Any:
    task = bar.add_task("", total=None, detail="")

    def move(run: Mapping[str, Any]) -> None:
        loss = _loss(run)
        bar.update(
            task, completed=run["step"], total=run["of"] or None, detail=f"loss {loss}" if loss else run["state"]
        )

    return move


def _progress(run: Mapping[str, Any]) -> str:
    return f"{run['step']}/{run['of']}" if run["of"] else ""


def _loss(run: Mapping[str, Any]) -> str:
    return "" if run["loss"] is None else f"{run['loss']:.4f}"


def span(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

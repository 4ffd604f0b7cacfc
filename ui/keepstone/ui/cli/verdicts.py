"""`keepstone evaluate` and `keepstone verdicts`: may a model replace the one in use?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from keepstone.platform.errors import KeepstoneError
from keepstone.ui.cli.client import Api, connect
from keepstone.ui.cli.output import ago, emit, fields, say, table
from keepstone.ui.cli.progress import wait_for_job

app = typer.Typer(help="Verdicts on models that may replace those in use.", no_args_is_help=True)

_OUTCOMES = {
    "promote": ("Promote it.", "green"),
    "refuse": ("Keep the model in use.", "red"),
    "not_enough_data": ("There is not enough data for a verdict.", "yellow"),
}


def evaluate(
    candidate: Annotated[str, typer.Argument(help="Encoder, adapter or language model to judge.")],
    *,
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Whose held-out questions are asked.")],
    plan: Annotated[bool, typer.Option("--plan", help="Only tell what it would take.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
) -> None:
    """Judge a model against the one in use, on questions that it was not trained on. It stays a candidate."""
    order = {"candidate": candidate, "dataset": dataset}
    with connect() as api:
        if plan:
            _show_plan(api.post("/v1/verdicts/plan", order))
            return
        job = api.post("/v1/verdicts", order)
        if detach:
            when = "It is judged when Keepstone runs: keepstone up." if api.in_process else "It is being judged."
            emit(job, f"{when} Then: keepstone verdicts show {job['id']}")
            return
        verdict = _wait(api, job["id"])
    emit(verdict, lambda: _show(verdict))


@app.command("list")
def list_(
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Only those on this one.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 20,
) -> None:
    """List verdicts, newest first."""
    with connect() as api:
        found = api.get("/v1/verdicts", collection=collection, limit=limit)["data"]
    rows = [
        (
            each["id"],
            each["candidate"],
            each["live"],
            each["collection"],
            each["outcome"].replace("_", " "),
            ago(each["created_at"]),
        )
        for each in found
    ]
    heads = ["Id", "Candidate", "Against", "Collection", "Verdict", "Passed"]
    emit(found, lambda: table(heads, rows, empty="No verdicts yet. Judge a model: keepstone evaluate MODEL -d DATASET"))


@app.command()
def show(
    verdict: Annotated[str, typer.Argument(metavar="ID", help="Of the verdict, or of the job that came to it.")],
) -> None:
    """Show a verdict with its reasons and figures."""
    with connect() as api:
        found = api.get(f"/v1/verdicts/{quote(verdict, safe='')}")
    emit(found, lambda: _show(found))


def _wait(api: Api, job_id: str) -> Any:
    """Return the verdict once the job has come to it."""
    job = wait_for_job(api, job_id)
    if job["state"] != "succeeded":
        raise KeepstoneError(f"There is no verdict: {job['error']}".rstrip("."))
    return api.get(f"/v1/verdicts/{job_id}")


def _show_plan(plan: Mapping[str, Any]) -> None:
    def human() -> None:
        fields(
            {
                "Candidate": plan["candidate"],
                "Against": plan["live"],
                "Made for": {"search": "better search", "answers": "better answers", "speed": "speed"}[plan["goal"]],
                "Collection": plan["collection"],
                "Dataset": plan["dataset"],
                "Questions": f"{plan['questions']} about {plan['documents']} documents",
                "Time": f"about {max(1, round(plan['seconds'] / 60))} min, and what an index or engine needs to start",
            }
        )
        for warning in plan["warnings"]:
            say(warning, "yellow")

    emit(plan, human)


def _show(verdict: Mapping[str, Any]) -> None:
    say(*_OUTCOMES[verdict["outcome"]])
    for reason in verdict["reasons"]:
        say(f"  {reason}")
    fields(
        {
            "Verdict": verdict["id"],
            "Candidate": verdict["candidate"],
            "Against": verdict["live"],
            "Collection": verdict["collection"],
            "Dataset": verdict["dataset"],
            "Parity": _parity(verdict["parity"]),
        }
    )
    heads = ["Figure", ">In use", ">Candidate", ">Change", ">95% interval", ">Questions"]
    table(heads, [_row(each) for each in verdict["figures"]])


def _row(figure: Mapping[str, Any]) -> tuple[object, ...]:
    times = figure["name"] == "tokens_per_second"
    means = [f"{figure[side]:.1f}" if times else f"{figure[side]:.3f}" for side in ("live", "candidate")]
    change, low, high = (
        None if value is None else f"{value:.2f} times" if times else f"{value:+.3f}"
        for value in (figure["change"], figure["low"], figure["high"])
    )
    return (figure["title"], *means, change, f"{low} to {high}" if low and high else None, figure["questions"])


def _parity(parity: Mapping[str, Any] | None) -> str | None:
    if parity is None:
        return None
    same = f"{parity['texts'] - parity['different']} of {parity['texts']} texts give the same tokens"
    if parity["mean_difference"] is None:
        return same
    means = f"{parity['mean_difference']:.3f} on average, {parity['max_difference']:.2f} at most"
    return f"{same}; log-probabilities differ by {means}"

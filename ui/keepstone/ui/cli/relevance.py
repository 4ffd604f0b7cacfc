"""`keepstone eval` and `keepstone tune`: how well a collection is searched, and whether another way is better."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from keepstone.platform.errors import InvalidInput, KeepstoneError
from keepstone.ui.cli.beir import measure_beir
from keepstone.ui.cli.client import Api, connect
from keepstone.ui.cli.output import emit, fields, interval, say, table
from keepstone.ui.cli.progress import wait_for_job

evaluation = typer.Typer(help="How well collections are searched, on judged questions.", no_args_is_help=True)
tuning = typer.Typer(help="Whether another way of searching is better.", no_args_is_help=True)

_SOURCES = {
    "judged": "judged by people",
    "written": "written by the language model",
    "sentences": "made of the documents' own words, which favours search by words",
}
_AT_ONCE = 500
_MOST_BYTES = 64 * 2**20
_Collection = Annotated[str, typer.Option("--collection", "-c", help="Name or id.")]
_K = Annotated[int, typer.Option("--k", min=1, max=30, help="How many of the first places count.")]
_Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")]
_Questions = Annotated[
    str, typer.Option("--questions", help="judged; made, from the documents; or auto: judged ones, else made ones.")
]
_JobId = Annotated[str, typer.Argument(metavar="ID", help="Of the job.")]


@evaluation.command("retrieval")
def eval_retrieval(
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Name or id.")] = None,
    *,
    judgements: Annotated[
        Path | None,
        typer.Option(help='Kept with the collection; a line is {"question": "...", "relevant": ["document"]}.'),
    ] = None,
    questions: _Questions = "auto",
    k: _K = 10,
    beir: Annotated[
        Path | None, typer.Option(help="A public collection in the format of BEIR, measured instead of one's own.")
    ] = None,
    split: Annotated[str, typer.Option(help="With --beir: which qrels.")] = "test",
    run: Annotated[Path | None, typer.Option(help="With --beir: write the rankings, as a run of TREC.")] = None,
    detach: _Detach = False,
) -> None:
    """Measure nDCG, MRR and recall on questions that were judged, or made, with 95% intervals."""
    if (collection is None) == (beir is None):
        raise InvalidInput("Name one of both: --collection or --beir", fix="Such as --collection handbook")
    if beir is not None:
        measure_beir(beir, split, run)
        return
    assert collection is not None, "one of both is named"
    new = _read(judgements) if judgements else []
    with connect() as api:
        for start in range(0, len(new), _AT_ONCE):
            api.post(f"{_path(collection)}/judgements", {"judgements": new[start : start + _AT_ONCE]})
        job = api.post(f"{_path(collection)}/evaluation", {"k": k, "questions": questions})
        if detach:
            emit(job, f"It is being measured. Then: keepstone eval show {job['id']}")
            return
        _wait(api, job["id"], "The collection could not be measured")
        report = _measured(api, job["id"])
    emit(report, lambda: _show_report(report))


@evaluation.command("show")
def show_evaluation(job: _JobId) -> None:
    """Show what an evaluation came to."""
    with connect() as api:
        report = _measured(api, job)
    emit(report, lambda: _show_report(report))


@evaluation.command()
def forget(collection: _Collection) -> None:
    """Forget the judgements that were handed in for a collection."""
    with connect() as api:
        gone = api.delete(f"{_path(collection)}/judgements")
    emit(gone, f"Forgot {gone['judgements']} judgements.")


@tuning.command("retrieval")
def tune_retrieval(
    collection: _Collection,
    *,
    questions: _Questions = "auto",
    k: _K = 10,
    recut: Annotated[
        bool | None,
        typer.Option(
            "--recut/--no-recut", help="Try other chunkers; without: up to 20,000 passages.", show_default=False
        ),
    ] = None,
    adopted: Annotated[
        bool, typer.Option("--adopt", help="Search in the best way from then on, if it is better beyond chance.")
    ] = False,
    detach: _Detach = False,
) -> None:
    """Try chunkers, weights and rerankers: the best on half of the documents is judged on the other half."""
    with connect() as api:
        job = api.post(
            f"{_path(collection)}/tuning", {"k": k, "questions": questions, "recut": recut, "adopt": adopted}
        )
        if detach:
            emit(job, f"It is being tried. Then: keepstone tune show {job['id']}")
            return
        _wait(api, job["id"], "The ways could not be compared")
        report = _tuned(api, job["id"])
    emit(report, lambda: _show_tuning(report, job["id"], adopted=adopted))


@tuning.command()
def show(job: _JobId) -> None:
    """Show what a comparison came to."""
    with connect() as api:
        report = _tuned(api, job)
    emit(report, lambda: _show_tuning(report, job))


@tuning.command()
def adopt(job: _JobId) -> None:
    """Search the collection from now on in the way that a comparison advises."""
    with connect() as api:
        adopted = api.post(f"/v1/tunings/{quote(job, safe='')}/adopt")
    undo_it = f"To undo it: keepstone tune undo --collection {adopted['collection']!r}"
    emit(adopted, lambda: _show_adopted(adopted, undo_it))


@tuning.command()
def undo(collection: _Collection) -> None:
    """Search a collection again as before its last adoption."""
    with connect() as api:
        adopted = api.delete(f"{_path(collection)}/adopted")
    emit(adopted, lambda: _show_adopted(adopted))


def _path(collection: str) -> str:
    return f"/v1/collections/{quote(collection, safe='')}"


def _read(path: Path) -> list[dict[str, Any]]:
    from keepstone.training.relevance.judgements import read_judgements

    if path.stat().st_size > _MOST_BYTES:
        raise InvalidInput(f"{path} is larger than 64 MiB", fix="Keep the judgements that matter most")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text", fix="Save it as UTF-8") from error
    return [each.model_dump(exclude_defaults=True) for each in read_judgements(lines)]


def _wait(api: Api, job_id: str, failed: str) -> None:
    ended = wait_for_job(api, job_id)
    if ended["state"] != "succeeded":
        raise KeepstoneError(f"{failed}: {ended['error']}".rstrip("."))


def _measured(api: Api, job_id: str) -> Any:
    return api.get(f"/v1/evaluations/{quote(job_id, safe='')}")


def _tuned(api: Api, job_id: str) -> Any:
    return api.get(f"/v1/tunings/{quote(job_id, safe='')}")


def _show_report(report: Mapping[str, Any]) -> None:
    fields(
        {
            "Collection": report["collection"],
            "Questions": f"{report['questions']} about {report['documents']} documents, {_SOURCES[report['source']]}",
            "Encoder": report["encoder"],
            "Reranker": report["reranker"],
            "Searched": _worded(report["way"]),
        }
    )
    rows = [(each["name"], f"{each['mean']:.3f}", interval(each["low"], each["high"])) for each in report["figures"]]
    table(["Figure", ">Mean", ">95% interval"], rows)
    _show_left_out(report)
    if report["misses"]:
        say(f"Nothing relevant among the first {report['k']}, for example:")
        for question in report["misses"][:5]:
            say(f"  {' '.join(question.split())[:100]}")


def _show_adopted(adopted: Mapping[str, Any], then: str = "") -> None:
    say(f"{adopted['collection']!r} is searched from now on with {_worded(adopted['way'])}.", "green")
    if adopted["jobs"]:
        say(f"Its documents are being cut anew. Watch: keepstone jobs list --collection {adopted['collection']!r}")
    if then:
        say(then)


def _show_tuning(report: Mapping[str, Any], job_id: str, *, adopted: bool = False) -> None:
    effect = report["effect"]
    if report["advice"] == "change" and adopted:
        say("Another way is better beyond chance, and in use from now on.", "green")
        say(f"To undo it: keepstone tune undo --collection {report['collection']!r}")
    elif report["advice"] == "change":
        say(f"Another way is better beyond chance. To search so: keepstone tune adopt {job_id}", "green")
    else:
        say("Keep the way of searching in use: no other one is better beyond chance.", "yellow")
    fields(
        {
            "Collection": report["collection"],
            "Questions": f"{report['questions']}, {_SOURCES[report['source']]}",
            "In use": _worded(report["current"]),
            "Best": _worded(report["best"]),
            "Judged on": f"{effect['questions']} questions about {effect['documents']} documents, none of which chose",
            f"nDCG@{report['k']}": f"{effect['live']:.3f} in use, {effect['candidate']:.3f} the best way",
            "Change": f"{effect['value']:+.3f} ({interval(effect['low'], effect['high'])})",
        }
    )
    rows = [(_worded(each["way"]), f"{each['chosen_by']:.3f}") for each in report["tried"]]
    table(["Way", f">nDCG@{report['k']} where chosen"], rows)
    found = [(each["k"], f"{each['current']:.3f}", f"{each['best']:.3f}") for each in report["recalls"]]
    table([">Passages read", ">Recall in use", ">Best way"], found)
    _show_left_out(report)


def _show_left_out(report: Mapping[str, Any]) -> None:
    for reason, count in report["left_out"].items():
        say(f"Left out: {count} {reason.replace('_', ' ')}", "yellow")
    if report["source"] != "judged":
        say("Made questions are for comparing: people ask others, and find less. Judge some of your own.", "yellow")


def _worded(way: Mapping[str, Any]) -> str:
    found = f"meaning {way['dense_weight']:g}, {way['candidates']} candidates, reranker {way['reranker']}"
    return f"{found}, {way['chunker']} {way['max_tokens']}"

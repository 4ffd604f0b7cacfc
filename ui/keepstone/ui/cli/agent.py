"""`keepstone agent`: run, list, show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from keepstone.platform.errors import KeepstoneError
from keepstone.ui.cli.ask import Collections, show_sources
from keepstone.ui.cli.client import Api, connect
from keepstone.ui.cli.output import ago, clean, console, emit, fields, indented, mode, note, say, table

app = typer.Typer(help="An agent that finds out step by step, with tools.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="Id, as `agent list` shows it.")]

# Characters of an observation that are printed.
_SHOWN = 240


@app.command()
def run(
    question: Annotated[str, typer.Argument(help="The question.")],
    collection: Collections = None,
    max_steps: Annotated[int | None, typer.Option(min=1, max=50, help="At most so many steps.")] = None,
) -> None:
    """Let the agent find out; Ctrl-C stops it."""
    body = {"question": question, "collections": collection, "max_steps": max_steps, "stream": True}
    with connect(engine=True) as api:
        finished = _watch(api, body)
        if mode.json:
            emit(api.get(f"/v1/agent/runs/{finished['run_id']}") | {"keepstone": finished["keepstone"]}, "")
            return
    if finished["reason"]:
        raise KeepstoneError(f"The run {finished['outcome']}: {finished['reason']}")
    show_sources(finished["keepstone"] or {})
    note(f"{finished['run_id']}: {finished['outcome']}", "dim")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 20,
) -> None:
    """List your runs, the latest first."""
    with connect() as api:
        found = api.get("/v1/agent/runs", limit=limit)["data"]
    rows = [
        (each["id"], each["state"], each["outcome"], ago(each["updated_at"]), " ".join(each["question"].split())[:60])
        for each in found
    ]
    emit(found, lambda: table(["Id", "State", "Outcome", "Changed", "Question"], rows, empty="No runs."))


@app.command()
def show(run_id: Id) -> None:
    """Show a run: its steps, and its answer."""
    with connect() as api:
        found = api.get(f"/v1/agent/runs/{quote(run_id, safe='')}")

    def human() -> None:
        shown = ("id", "question", "state", "outcome", "reason", "ended", "tokens", "seconds", "created_at")
        fields({name: found[name] for name in shown})
        for number, step in enumerate(found["steps"], 1):
            _show_thought(number, step["thought"])
            for call in step["calls"]:
                _show_call(call["tool"], call["arguments"])
            for seen in step["observations"]:
                _show_observation(seen["text"])
        if found["answer"]:
            say("")
            say(found["answer"])

    emit(found, human)


def _watch(api: Api, body: Mapping[str, Any]) -> dict[str, Any]:
    """Print a run as it goes; return its last event."""
    terminal = console()
    run_id = ""
    writing = False
    try:
        for event in api.events("/v1/agent/runs", body):
            kind = event["type"]
            run_id = event.get("run_id", run_id)
            if kind == "finished":
                if writing:
                    say("")
                return event
            if mode.json:
                continue
            if kind == "text":
                if not writing:
                    say("")
                writing = True
                terminal.print(clean(event["text"]), end="", soft_wrap=True)
            else:
                _show_step(event)
    except KeyboardInterrupt:
        if run_id:
            api.post(f"/v1/agent/runs/{run_id}/cancel")
        note("Stopped.", "dim")
        raise
    raise KeepstoneError("The run broke off", fix=f"`keepstone agent show {run_id}` tells how far it came")


def _show_step(event: Mapping[str, Any]) -> None:
    if event["type"] == "thought":
        _show_thought(event["step"], event["text"])
    elif event["type"] == "call":
        _show_call(event["tool"], event["arguments"])
    elif event["type"] == "observation":
        _show_observation(event["text"])


def _show_thought(step: int, text: str) -> None:
    say(f"{step}. {' '.join(text.split())}", "bold")


def _show_call(tool: str, arguments: Mapping[str, Any]) -> None:
    shown = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())
    indented(f"{tool}({shown})")


def _show_observation(text: str) -> None:
    flat = " ".join(text.split())
    indented(flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN]}…", indent=6, style="dim")

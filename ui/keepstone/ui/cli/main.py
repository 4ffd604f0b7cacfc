"""The command `keepstone`: one group of commands a file."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from keepstone.ui.cli import (
    agent,
    ask,
    collections,
    data,
    database,
    doctor,
    documents,
    engine,
    improve,
    ingest,
    jobs,
    keys,
    login,
    mcp,
    models,
    relevance,
    runs,
    sources,
    status,
    up,
    verdicts,
)
from keepstone.ui.cli.group import KeepstoneGroup

app = typer.Typer(
    cls=KeepstoneGroup,
    help="Ask your own documents on your own model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    json: Annotated[bool, typer.Option("--json", help="Print JSON. Works before and after the command.")] = False,
) -> None:
    del json  # KeepstoneGroup takes it from anywhere in the line


app.command("up", rich_help_panel="Run")(up.up)
app.command("down", rich_help_panel="Run")(up.down)
app.command("status", rich_help_panel="Run")(status.status)
app.command("login", rich_help_panel="Run")(login.login)
app.command("doctor", rich_help_panel="Run")(doctor.doctor)
app.add_typer(engine.app, name="engine", rich_help_panel="Run")
app.command("ingest", rich_help_panel="Documents and questions")(ingest.ingest)
app.command("search", rich_help_panel="Documents and questions")(ask.search)
app.command("ask", rich_help_panel="Documents and questions")(ask.ask)
app.command("chat", rich_help_panel="Documents and questions")(ask.chat)
app.add_typer(agent.app, name="agent", rich_help_panel="Documents and questions")
app.command("mcp", rich_help_panel="Documents and questions")(mcp.mcp)
app.add_typer(collections.app, name="collections", rich_help_panel="Documents and questions")
app.add_typer(documents.app, name="documents", rich_help_panel="Documents and questions")
app.add_typer(sources.app, name="sources", rich_help_panel="Documents and questions")
app.add_typer(jobs.app, name="jobs", rich_help_panel="Documents and questions")
app.command("improve", rich_help_panel="Improve")(improve.improve)
app.add_typer(improve.app, name="reports", rich_help_panel="Improve")
app.add_typer(data.app, name="data", rich_help_panel="Improve")
app.command("train", rich_help_panel="Improve")(runs.train)
app.command("quantize", rich_help_panel="Improve")(runs.quantize)
app.add_typer(runs.app, name="runs", rich_help_panel="Improve")
app.command("evaluate", rich_help_panel="Improve")(verdicts.evaluate)
app.add_typer(verdicts.app, name="verdicts", rich_help_panel="Improve")
app.add_typer(relevance.evaluation, name="eval", rich_help_panel="Improve")
app.add_typer(relevance.tuning, name="tune", rich_help_panel="Improve")
app.add_typer(models.app, name="models", rich_help_panel="Administration")
app.add_typer(keys.app, name="keys", rich_help_panel="Administration")
app.add_typer(database.app, name="db", rich_help_panel="Administration")
app.command("version", rich_help_panel="Administration")(status.show_version)


def main() -> None:
    """Run the command line."""
    sys.exit(app(prog_name="keepstone"))


if __name__ == "__main__":
    main()

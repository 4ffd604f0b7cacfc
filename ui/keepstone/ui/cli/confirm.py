"""Asking before something is deleted for good."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from keepstone.platform.errors import InvalidInput
from keepstone.ui.cli.output import clean, mode

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(question: str, yes: bool) -> None:
    """Ask a person; a program must have said `--yes`.

    Raises:
        InvalidInput: nobody can be asked.
        typer.Exit: the answer is no.
    """
    if yes:
        return
    if mode.json or not sys.stdin.isatty():
        raise InvalidInput("This deletes for good, and nobody can be asked", fix="Add --yes")
    if not typer.confirm(clean(question), err=True):
        raise typer.Exit(1)

"""What commands print: JSON for programs, tables and sentences for people, errors on stderr with their fix."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keepstone.platform.errors import KeepstoneError

if TYPE_CHECKING:
    from rich.console import Console

# Control characters, with which text from a document or a model could drive the terminal.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_PIPE_WIDTH = 400


@dataclass(slots=True)
class _Mode:
    json: bool = False


mode = _Mode()
"""How this run prints; set once from the command line."""


def console() -> Console:
    """Return the terminal for results."""
    from rich.console import Console

    # What is piped into a file or a program is not to be folded to a terminal's width.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def notes() -> Console:
    """Return the terminal for progress and errors, which is stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False, quiet=mode.json)


def print_anything() -> None:
    """Let characters that the terminal's encoding lacks become question marks instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def clean(text: object) -> str:
    """Return text without control characters other than line feeds and tabs."""
    return _CONTROL.sub("", str(text))


def emit(data: Any, human: Callable[[], None] | str) -> None:
    """Print a result: `data` as JSON if that was asked for, else `human`, a text or a function that prints."""
    if mode.json:
        json.dump(data, sys.stdout, ensure_ascii=False, indent=2, default=str)
        sys.stdout.write("\n")
    elif isinstance(human, str):
        say(human)
    else:
        human()


def say(text: str, style: str | None = None) -> None:
    """Print a line for people."""
    console().print(clean(text), style=style, soft_wrap=True)


def note(text: str, style: str | None = None) -> None:
    """Print a line about what is going on, on stderr; nothing with --json."""
    notes().print(clean(text), style=style, soft_wrap=True)


def show_error(error: KeepstoneError) -> None:
    """Print an error and its fix on stderr."""
    if mode.json:
        shown = {"error": {"message": error.message, "code": error.code, "fix": error.fix}}
        sys.stderr.write(json.dumps(shown, ensure_ascii=False) + "\n")
        return
    terminal = notes()
    terminal.print(f"Error: {clean(error.message)}", style="bold red", soft_wrap=True)
    if error.fix:
        terminal.print(clean(error.fix), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "Nothing there.") -> None:
    """Print rows under headings. Columns whose heading begins with `>` are aligned to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    filled = [[Text(clean("" if cell is None else cell)) for cell in row] for row in rows]
    if not filled:
        say(empty, style="dim")
        return
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        right = column.startswith(">")
        # The first column is what people copy.
        shown.add_column(
            column.removeprefix(">"), justify="right" if right else "left", overflow="fold", no_wrap=place == 0 or right
        )
    for row in filled:
        shown.add_row(*row)
    console().print(shown)


def fields(pairs: Mapping[str, object]) -> None:
    """Print names and values, one pair a line."""
    from rich.table import Table
    from rich.text import Text

    shown = Table.grid(padding=(0, 2))
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in pairs.items():
        if value is not None:
            shown.add_row(name, Text(clean(value)))
    console().print(shown)


def indented(text: str, *, indent: int = 4, style: str = "") -> None:
    """Print a paragraph set in from the left, folded to the terminal's width."""
    from rich.text import Text

    terminal = console()
    margin = " " * indent
    for line in Text(clean(" ".join(text.split())), style=style).wrap(terminal, terminal.width - 2 * indent):
        line.rstrip()
        terminal.print(Text(margin) + line, soft_wrap=True)


def ago(moment: str | None) -> str:
    """Return how long ago an ISO time was, for people."""
    if not moment:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def size(count: int) -> str:
    """Return a number of bytes for people."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def interval(low: float | None, high: float | None) -> str | None:
    """Return an interval for people; None where there is none."""
    return None if low is None or high is None else f"{low:.3f} to {high:.3f}"

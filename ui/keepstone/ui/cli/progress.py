"""Showing lines of progress on stderr, while something is fetched or installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keepstone.ui.cli.output import clean, mode, note, notes


@contextmanager
def progress_lines() -> Iterator[Callable[[str], None]]:
    """Return a function that shows what is going on: the last line with a spinner on a terminal, else line by line.

    Lines that begin with a space are details, which a terminal shows in passing.
    """
    terminal = notes()
    if mode.json:
        yield lambda _line: None
        return
    if not terminal.is_terminal:
        yield note
        return
    with terminal.status("…", spinner="dots") as status:

        def show(line: str) -> None:
            if not line.startswith(" "):
                terminal.print(clean(line), style="dim", soft_wrap=True)
            status.update(clean(line.strip())[: terminal.width - 4])

        yield show

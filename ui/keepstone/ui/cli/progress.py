"""Showing lines of progress on stderr, while something is fetched or installed, or a job is at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from keepstone.ui.cli.client import Api
from keepstone.ui.cli.output import clean, mode, note, notes

_POLL_S: Final = 0.5
_OPEN: Final = ("queued", "running")


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


def wait_for_job(api: Api, job_id: str, *, before: str = "Making ready", doing: str = "At work") -> Any:
    """Return a job once it has ended, however it did; Ctrl-C leaves it at work.

    Args:
        api: of the app that has the job.
        job_id: which.
        before: what is shown until the job knows how many steps it takes, or has but one.
        doing: what is shown from then on, with their numbers.
    """
    try:
        with progress_lines() as progress:
            shown = ""
            while (job := api.get(f"/v1/jobs/{job_id}"))["state"] in _OPEN:
                line = f"  {doing}: {job['done']} of {job['total']}" if job["total"] > 1 else f"  {before}"
                if line != shown:
                    progress(line)
                    shown = line
                time.sleep(_POLL_S)
    except KeyboardInterrupt:
        note(f"It goes on. Watch: keepstone jobs show {job_id}; stop: keepstone jobs cancel {job_id}")
        raise
    return job

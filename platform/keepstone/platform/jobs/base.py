"""What a kind of job implements, and what it is told about the job in hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Abandoned(BaseException):
    """The process is closing: let go of the work at once, it goes on at the next start.

    Not an `Exception`, so that handlers that record every failure do not take it for one.
    """


def _ignore_progress(_done: int, _total: int) -> None:
    """Report to nobody."""


def _never_cancelled() -> None:
    """Go on."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job, as its handler sees it. In tests of a handler, make one by hand: `JobInfo(id="job_1", kind="ingest")`."""

    id: str
    kind: str
    args: dict[str, Any]
    principal_id: str | None = None
    collection_id: str | None = None
    attempt: int = 1
    """Which try of the step in hand this is; above 1 after a crash or a restart in the middle of it."""
    cancelled: bool = False
    """Whether a person stopped the job; `finish` may want to know."""
    report: Callable[[int, int], None] = _ignore_progress
    check: Callable[[], None] = _never_cancelled

    def progress(self, done: int, total: int) -> None:
        """Show people how far the job is; for kinds registered with `own_progress`."""
        self.report(done, total)

    def check_cancelled(self) -> None:
        """Call this often inside long units; it is cheap.

        Raises:
            Cancelled: a person stopped the job, or its collection was deleted.
            Abandoned: the process is closing.
        """
        self.check()


class JobKind(Protocol):
    """Handler of one kind of job.

    Each method may run more than once for the same job (after a crash, a restart or a failure that may pass), so each
    must be idempotent. `Unavailable`, except `ModelMissing`, and a busy database count as failures that may pass; any
    other `KeepstoneError` fails the job with its message.
    """

    def plan(self, job: JobInfo) -> list[Any]:
        """Cut the work into units, each a value that JSON can hold. They run in this order, one after the other."""
        ...

    def run(self, job: JobInfo, unit: Any) -> None:
        """Do one unit. The job goes on after it once this has returned."""
        ...

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Tidy up after the last unit, or after a failure or a cancellation, which `error` words."""
        ...

"""Every error that Keepstone raises on purpose.

The tree::

    KeepstoneError              something a person can act on; carries what was wrong and the fix
    ├── SettingsError           keepstone.toml or a KEEPSTONE_* variable is wrong
    ├── Unauthenticated         no credential, or one that is unknown, expired or revoked
    ├── Forbidden               the principal may see the object but not do this to it
    ├── NotFound                no such object, or none that this principal may see
    ├── InvalidInput            the request itself is wrong
    │   └── UnreadableDocument  a file that cannot be turned into text
    ├── Conflict                the object exists already, or is held by another process
    ├── LimitExceeded           too large, too many, too long
    ├── Cancelled               a person stopped the work
    ├── StorageFull             no room left on the disk
    └── Unavailable             something needed is not there at the moment
        ├── EngineUnavailable   the language model's server does not answer
        └── ModelMissing        the weights are not on this machine

`code` is the stable name that APIs and logs show. The faces turn it into an HTTP status or an exit code.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import ClassVar


class KeepstoneError(Exception):
    """An error a person can act on.

    Args:
        message: what was wrong, in one sentence without a final full stop.
        fix: what mends it: a command, a valid value, a place to look.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}. {self.fix}" if self.fix else self.message


class SettingsError(KeepstoneError):
    """keepstone.toml or a KEEPSTONE_* variable is wrong."""

    code = "invalid_settings"


class Unauthenticated(KeepstoneError):
    """No credential, or one that is unknown, expired or revoked."""

    code = "unauthenticated"


class Forbidden(KeepstoneError):
    """The principal may see the object but not do this to it."""

    code = "forbidden"


class NotFound(KeepstoneError):
    """No such object, or none that this principal may see."""

    code = "not_found"


class InvalidInput(KeepstoneError):
    """The request itself is wrong."""

    code = "invalid_input"


class UnreadableDocument(InvalidInput):
    """A file that cannot be turned into text."""

    code = "unreadable_document"


class Conflict(KeepstoneError):
    """The object exists already, or is held by another process."""

    code = "conflict"


class LimitExceeded(KeepstoneError):
    """Too large, too many, too long."""

    code = "limit_exceeded"


class Cancelled(KeepstoneError):
    """A person stopped the work."""

    code = "cancelled"


class StorageFull(KeepstoneError):
    """No room left on the disk."""

    code = "storage_full"


class Unavailable(KeepstoneError):
    """Something needed is not there at the moment."""

    code = "unavailable"


class EngineUnavailable(Unavailable):
    """The language model's server does not answer."""

    code = "engine_unavailable"


class ModelMissing(Unavailable):
    """The weights are not on this machine."""

    code = "model_missing"


def did_you_mean(wrong: str, valid: list[str]) -> str:
    """Return a hint naming the nearest valid value, or all of them when none is near."""
    near = get_close_matches(wrong, valid, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Valid: {', '.join(sorted(valid))}"


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn the operating system's "disk full" into `StorageFull`, saying what was being written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"No space left on the disk while {doing}",
                fix="Free some space (`keepstone doctor` shows where it went) and try again; nothing stored was lost",
            ) from error
        raise

"""What a place is that files are taken from: it can be listed, and its files read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Final, Protocol

from keepstone.platform.errors import Unavailable

MOST_LEVELS: Final = 64
"""How deep folders may lie in each other."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file, as a listing shows it."""

    path: str
    """Below the place, with `/`."""
    size: int | None
    """Bytes; None where the place does not say."""
    stamp: str | None
    """Changes whenever the file does; None where the place tells nothing of the kind."""
    problem: str | None = None
    """Why it cannot be taken; of a folder: why nothing below it was listed."""


class Place(Protocol):
    """Where files are. Every method raises `Unavailable` when the place does not answer."""

    def files(self) -> Iterator[FoundFile]:
        """Yield every file in any order, or raise: what is not yielded is not there. Hidden files are passed over.

        Raises:
            LimitExceeded: folders lie too deep in each other.
        """
        ...

    def has(self, path: str) -> bool:
        """Tell whether there is such a file now."""
        ...

    def open(self, path: str) -> AbstractContextManager[SteadyReader]:
        """Open a file for reading.

        Raises:
            NotFound: there is none.
            UnreadableDocument: it may not be read.
        """
        ...


class SteadyReader(io.RawIOBase):
    """The bytes of a file, which must not change while they are read.

    Args:
        stream: the file.
        stamp: returns what `FoundFile.stamp` would be now.
    """

    def __init__(self, stream: IO[bytes], stamp: Callable[[], str | None]) -> None:
        super().__init__()
        self._stream = stream
        self._now = stamp
        self._digest = hashlib.sha256()
        self.stamp = stamp()

    @property
    def sha256(self) -> str:
        """Hash of what was read so far."""
        return self._digest.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            Unavailable: at the end, when the file is another one than at the beginning; or the place does not answer.
        """
        try:
            block = self._stream.read(size)
        except Exception as error:  # whatever the library of a remote place raises
            raise unanswered("The file", error) from error
        self._digest.update(block)
        if not block and self._now() != self.stamp:
            raise Unavailable("It changed while it was being read", fix="It is read again at the next look")
        return block


def unanswered(what: str, error: Exception) -> Unavailable:
    """Return the error for a place that does not answer; its own words may hold secrets, so they are left out."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    return Unavailable(f"{what} cannot be read ({reason})", fix="Mend what holds it; nothing was deleted")


def listed(path: str, size: int | None, stamp: str | None) -> FoundFile:
    """Return what a listing shows; a name that is no text, or that no database can store, is a problem."""
    try:
        path.encode()
    except UnicodeEncodeError:
        storable = path.encode(errors="replace").decode()
    else:
        storable = path.replace("\x00", "?")
    if storable == path:
        return FoundFile(path, size, stamp)
    return FoundFile(storable, None, None, "Its name is not UTF-8 text. Rename it")

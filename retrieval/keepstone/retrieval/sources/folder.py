"""A folder of this machine, below one that the administrator allows.

Every step down goes from one open folder to the next and follows no symbolic link, so whoever may write in the folder
cannot lead us out of it, not even while we are at work.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keepstone.platform.errors import LimitExceeded, NotFound, Unavailable, UnreadableDocument
from keepstone.retrieval.loaders.base import shown
from keepstone.retrieval.sources.base import MOST_LEVELS, FoundFile, SteadyReader, listed, unanswered

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe would otherwise keep us waiting for its writer.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Not there, no folder, or a link: for us the same.
_ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class Folder:
    """A folder.

    Args:
        allowed: the allowed folder; it may be a link itself.
        parts: names of the folders from there down.
    """

    def __init__(self, allowed: Path, parts: Sequence[str]) -> None:
        self._allowed = allowed
        self._parts = tuple(parts)
        self._location = str(allowed.joinpath(*parts))

    def files(self) -> Iterator[FoundFile]:
        """Yield every file; see `Place`. A folder that may not be looked into is one problem."""
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            try:
                found = self._entries(parts)
            except PermissionError as error:
                if not parts:
                    raise unanswered(self._location, error) from error
                yield FoundFile("/".join(parts), None, None, "The folder may not be read. Allow it")
            except _ABSENT as error:
                if not parts:
                    raise Unavailable(
                        f"There is no folder {self._location}", fix="Mount or make it; nothing was deleted"
                    ) from error
            except OSError as error:
                raise unanswered(self._location, error) from error
            else:
                for file, is_folder in found:
                    if is_folder and file.problem is None:
                        waiting.append((*parts, file.path.rpartition("/")[2]))
                    else:
                        yield file

    def has(self, path: str) -> bool:
        """Tell whether there is such a file now; see `Place`."""
        try:
            with self._file(path):
                return True
        except (NotFound, UnreadableDocument) as error:
            return isinstance(error, UnreadableDocument)

    @contextmanager
    def open(self, path: str) -> Iterator[SteadyReader]:
        """Open a file; see `Place`."""
        with self._file(path) as descriptor, os.fdopen(os.dup(descriptor), "rb", buffering=0) as stream:
            yield SteadyReader(stream, lambda: _stamp(os.fstat(descriptor)))

    def _entries(self, parts: tuple[str, ...]) -> list[tuple[FoundFile, bool]]:
        if len(parts) > MOST_LEVELS:
            raise LimitExceeded(
                f"Folders in {self._location} lie more than {MOST_LEVELS} deep in each other", fix="Flatten them"
            )
        found: list[tuple[FoundFile, bool]] = []
        with self._folder(parts) as folder, os.scandir(folder) as entries:
            for entry in entries:
                path = "/".join((*parts, entry.name))
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    found.append((listed(path, None, None), True))
                elif entry.is_file(follow_symlinks=False):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    found.append((listed(path, status.st_size, _stamp(status)), False))
        return found

    @contextmanager
    def _folder(self, parts: Sequence[str]) -> Iterator[int]:
        descriptor = os.open(self._allowed, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in (*self._parts, *parts):
                inner = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _file(self, path: str) -> Iterator[int]:
        *folders, name = path.split("/")
        try:
            with self._folder(folders) as folder:
                descriptor = os.open(name, _FILE, dir_fd=folder)
        except _ABSENT as error:
            raise NotFound(f"{shown(path)} is not there any more") from error
        except PermissionError as error:
            raise UnreadableDocument(f"{shown(path)} may not be read", fix="Allow Keepstone to read it") from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise NotFound(f"{shown(path)} is a link now") from error
            raise unanswered(shown(path), error) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotFound(f"{shown(path)} is no file any more")
            yield descriptor
        finally:
            os.close(descriptor)


def _stamp(status: os.stat_result) -> str:
    """Return what changes with a file, also when a program sets the time of its last change back."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"

"""Which files an `ingest` means, under which names, and in which portions they are sent."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from keepstone.platform.errors import InvalidInput, NotFound

BATCH_FILES = 200
_BATCH_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to hand in."""

    path: Path
    name: str
    """Its path below the folder that was named, with `/`."""
    size: int


class FileChanged(InvalidInput):
    """A file became shorter while it was sent."""

    def __init__(self, file: LocalFile) -> None:
        super().__init__("It became shorter while it was being read", fix="Ingest it again when nothing writes to it")
        self.file = file


class FixedSize(io.RawIOBase):
    """The first `file.size` bytes of a file, so that one that grows meanwhile keeps to the length that was announced.

    Raises:
        OSError: it cannot be opened.
        FileChanged: while reading, it ends before that.
    """

    def __init__(self, file: LocalFile) -> None:
        super().__init__()
        self._file = file
        self._stream = file.path.open("rb")

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        room = self._file.size - self._stream.tell()
        wanted = room if size < 0 else min(size, room)
        piece = self._stream.read(wanted)
        if len(piece) < wanted:
            raise FileChanged(self._file)
        return piece

    def seekable(self) -> bool:
        """Tell that the position can be set."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position; the end is that of the announced size."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._stream.tell(), os.SEEK_END: self._file.size}[whence]
        return self._stream.seek(start + offset)

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def find_files(paths: Sequence[Path]) -> list[LocalFile]:
    """Return the files that are named and those in named folders, in the order of their names.

    Hidden files and folders are passed over, and inside folders symbolic links are not followed.

    Raises:
        NotFound: a path does not exist.
        InvalidInput: there is no file, or two would get the same name.
    """
    found: dict[str, LocalFile] = {}
    for path in paths:
        if not path.exists():
            raise NotFound(f"There is no {str(path)!r}", fix="Check the path")
        if not path.is_file() and not path.is_dir():
            raise InvalidInput(f"{str(path)!r} is neither a file nor a folder", fix="Leave it out")
        for each in _below(path):
            other = found.get(each.name)
            if other and not other.path.samefile(each.path):
                raise InvalidInput(
                    f"{str(other.path)!r} and {str(each.path)!r} would both be named {each.name!r}",
                    fix="Ingest the folder that holds both, or use two collections",
                )
            found[each.name] = each
    if not found:
        raise InvalidInput("There are no files to ingest", fix="Hidden files and symbolic links are passed over")
    return [found[name] for name in sorted(found)]


def batches(files: Iterable[LocalFile], max_bytes: int) -> Iterator[list[LocalFile]]:
    """Cut files into portions for one upload each; a file that is larger than a portion goes alone."""
    limit = min(_BATCH_BYTES, max_bytes)
    batch: list[LocalFile] = []
    room = limit
    for file in files:
        if batch and (file.size > room or len(batch) >= BATCH_FILES):
            yield batch
            batch, room = [], limit
        batch.append(file)
        room -= file.size
    if batch:
        yield batch


def _below(root: Path) -> Iterator[LocalFile]:
    if root.is_file():
        yield LocalFile(root, _text(root.name), root.stat().st_size)
        return
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield LocalFile(path, _text(path.relative_to(root).as_posix()), path.stat().st_size)


def _text(name: str) -> str:
    """Return a name as text, also one whose bytes are not UTF-8."""
    return os.fsencode(name).decode("utf-8", errors="replace")

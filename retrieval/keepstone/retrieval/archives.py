"""Archives that are handed in (zip, tar, tar.gz): their members become documents of their own.

    for name, stream in opened([("docs.zip", file)], ArchiveLimits()):
        ...     # "docs.zip/manual/pump.md", and its bytes, to be read before the next one is asked for

A Word document is a zip as well; it passes through as it is, and so does what is no archive. Nothing of a member but
its bytes is used: no path is written to, no link followed, no rights or owners set. Archives in archives stay closed.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast

from keepstone.platform.errors import KeepstoneError, LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders.base import shown
from keepstone.retrieval.names import clean_name

# Parts by which a zip is some program's document.
_DOCUMENT_PARTS = frozenset({
    "[Content_Types].xml", "mimetype", "META-INF/container.xml", "META-INF/MANIFEST.MF", "word/document.xml",
    "xl/workbook.xml", "ppt/presentation.xml",
})  # fmt: skip
_ZIP_HEADS = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP_HEAD = b"\x1f\x8b"
_TAR_MARK = slice(257, 262)
# bzip2 and LZMA inflate a few bytes to gigabytes in one step, and nothing makes such zips but a few packers.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
# Text of one byte alone packs 1000:1; what people pack stays far below, so more is suspect once it is large.
_SUSPECT_RATIO = 200
_SUSPECT_FROM = 64 * 2**20
# The libraries read a zip's list of contents, or a tar's extended header, at once.
_LONGEST_READ = 4 * 2**20
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError,
)  # fmt: skip

Opened = tuple[str, BinaryIO | KeepstoneError]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """What one archive may hold."""

    max_files: int = 2000
    """Members (setting `ingestion.max_archive_files`)."""
    max_bytes: int = 1024 * 2**20
    """Bytes unpacked, all members together (setting `ingestion.max_archive_mb`)."""


def opened(files: Iterable[tuple[str, BinaryIO]], limits: ArchiveLimits) -> Iterator[Opened]:
    """Yield files as they are, and in place of an archive its members, or what is wrong with them.

    Args:
        files: name and bytes of each.
        limits: for each archive.

    Yields:
        Name and bytes, or name and error. Bytes of members are unpacked while they are read, which may raise
        `UnreadableDocument` or `LimitExceeded`; they must be read before the next pair is asked for.
    """
    for name, stream in files:
        kind = _kind(stream) if stream.seekable() else None
        if kind is None:
            yield name, stream
            continue
        found = False
        for pair in _Archive(name, stream, limits).members(kind):
            found = True
            yield pair
        if not found:
            yield name, UnreadableDocument(f"{shown(name)} is an archive without files", fix="Leave it out")


def _kind(stream: BinaryIO) -> str | None:
    """Return `zip`, `tar` or `tar.gz`, None for what is no archive; the stream stands at its start again."""
    head = stream.read(512)
    stream.seek(0)
    try:
        if head.startswith(_ZIP_HEADS):
            with zipfile.ZipFile(_Careful(stream)) as archive:
                return "zip" if _DOCUMENT_PARTS.isdisjoint(archive.namelist()) else None
        if head[_TAR_MARK] == b"ustar":
            return "tar"
        if head.startswith(_GZIP_HEAD):
            return "tar.gz" if gzip.GzipFile(fileobj=stream).read(512)[_TAR_MARK] == b"ustar" else None
    except LimitExceeded:
        return "zip"  # its list of contents is far too long, which its opening will say
    except _DAMAGE:
        return None
    finally:
        stream.seek(0)
    return None


class _Archive:
    """One archive while it is read."""

    def __init__(self, name: str, stream: BinaryIO, limits: ArchiveLimits) -> None:
        self._name = name
        self._stream = stream
        self._limits = limits
        self._packed = stream.seek(0, io.SEEK_END)
        self._unpacked = 0
        stream.seek(0)

    def members(self, kind: str) -> Iterator[Opened]:
        """Yield the members, and last what went wrong with the archive as a whole."""
        try:
            with self._worded(self._name):
                yield from self._zip_members() if kind == "zip" else self._tar_members(packed=kind == "tar.gz")
        except KeepstoneError as error:
            yield self._name, error

    def take(self, count: int) -> None:
        """Count bytes that were unpacked.

        Raises:
            LimitExceeded: there are too many of them.
        """
        self._unpacked += count
        suspect = self._unpacked > max(_SUSPECT_FROM, _SUSPECT_RATIO * self._packed)
        if suspect or self._unpacked > self._limits.max_bytes:
            why = "far more than a packed file should (a bomb?)" if suspect else "too much"
            raise self._too_large(f"unpacks to {why}; what came before was taken")

    def _zip_members(self) -> Iterator[Opened]:
        with zipfile.ZipFile(_Careful(self._stream)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > self._limits.max_files:
                raise self._too_large(f"holds {len(entries)} files")
            for entry in entries:
                label = _zip_name(entry)
                if _is_clutter(label):
                    continue
                if entry.flag_bits & 0x1:
                    yield self._refused(label, "is encrypted", "Unpack the archive with its password")
                elif entry.compress_type not in _METHODS:
                    yield self._refused(label, "is packed in an unusual way", "Pack it again as an ordinary zip")
                elif entry.external_attr >> 28 == 0xA:  # S_IFLNK of the Unix mode in the upper half
                    yield self._refused(label, "is a link", "Put the file itself into the archive")
                else:
                    yield self._member(label, lambda entry=entry: archive.open(entry))
                if self._is_full:
                    return

    def _tar_members(self, *, packed: bool) -> Iterator[Opened]:
        plain = cast("BinaryIO", gzip.GzipFile(fileobj=self._stream)) if packed else self._stream
        # Also what is passed over is unpacked, so the position tells how much there was.
        most = self._limits.max_bytes + self._limits.max_files * tarfile.RECORDSIZE
        with tarfile.TarFile(fileobj=_Careful(plain, most, self._too_large)) as archive:
            for count, entry in enumerate(archive):
                if count >= self._limits.max_files:
                    raise self._too_large(f"holds more than {count} entries; those before were taken")
                label = _decoded(entry.name.encode("utf-8", errors="surrogateescape"), "latin-1")
                if entry.isdir() or _is_clutter(label):
                    continue
                if not entry.isreg() or entry.issparse():
                    yield self._refused(label, "is a link or a device", "Put the file itself into the archive")
                else:
                    yield self._member(label, lambda entry=entry: archive.extractfile(entry))
                if self._is_full:
                    return

    @property
    def _is_full(self) -> bool:
        return self._unpacked > min(self._limits.max_bytes, max(_SUSPECT_FROM, _SUSPECT_RATIO * self._packed))

    def _member(self, label: str, unpack: Any) -> Opened:
        """Return a member under the archive's name, or what is wrong with it."""
        if _ABSOLUTE.match(label) or ".." in re.split(r"[/\\]", label):
            return self._refused(label, "has a name that points out of the archive", "Pack the archive again")
        try:
            name = clean_name(f"{self._name}/{label}")
            with self._worded(name):
                return name, cast("BinaryIO", _Member(self, name, unpack()))
        except KeepstoneError as error:
            return _visible(f"{self._name}/{label}"), error

    def _refused(self, label: str, why: str, fix: str) -> Opened:
        name = _visible(f"{self._name}/{label}")
        return name, UnreadableDocument(f"{shown(name)} {why}", fix=fix)

    def _too_large(self, why: str) -> LimitExceeded:
        most = f"{self._limits.max_files} files and {self._limits.max_bytes / 2**20:.4g} MiB"
        return LimitExceeded(
            f"{shown(self._name)} {why}; an archive may hold {most}",
            fix="Split it, or raise ingestion.max_archive_files or ingestion.max_archive_mb in keepstone.toml",
        )

    @contextmanager
    def _worded(self, name: str) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise UnreadableDocument(
                f"{shown(name)} cannot be unpacked, it is damaged or cut short", fix="Pack it again, and upload that"
            ) from error

    def read(self, inner: IO[bytes], name: str, size: int) -> bytes:
        """Return the next bytes of a member."""
        with self._worded(name):
            block = inner.read(_LONGEST_READ if size < 0 else min(size, _LONGEST_READ))
        self.take(len(block))
        return block


class _Member(io.RawIOBase):
    """The bytes of a member, unpacked while they are read, counted by its archive."""

    def __init__(self, archive: _Archive, name: str, inner: IO[bytes]) -> None:
        super().__init__()
        self._archive = archive
        self._name = name
        self._inner = inner

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; fewer than were asked for, where that is much."""
        return self._archive.read(self._inner, self._name, size)


class _Careful(io.RawIOBase):
    """A file under a library that would read as much at once as a hostile file names.

    Args:
        stream: the file.
        most: furthest position that may be reached.
        too_large: makes the error for a position beyond that.
    """

    def __init__(self, stream: BinaryIO, most: int | None = None, too_large: Any = None) -> None:
        super().__init__()
        self._stream = stream
        self._most = most
        self._too_large = too_large

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            LimitExceeded: there are more than may be read at once.
        """
        block = self._stream.read(_LONGEST_READ + 1 if size < 0 or size > _LONGEST_READ else size)
        if len(block) > _LONGEST_READ:
            raise LimitExceeded("The archive's list of contents is too long", fix="Split the archive")
        self._check(self._stream.tell())
        return block

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position."""
        if whence == io.SEEK_SET:
            self._check(offset)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell()

    def seekable(self) -> bool:
        """Tell that the position can be set."""
        return True

    def _check(self, position: int) -> None:
        if self._most is not None and position > self._most:
            raise self._too_large("unpacks to too much; what came before was taken")


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """Return a member's name; without the mark for UTF-8 it is in the encoding of whoever packed it."""
    if entry.flag_bits & 0x800:
        return entry.filename
    try:
        return _decoded(entry.filename.encode("cp437"), "cp437")
    except UnicodeEncodeError:
        return entry.filename


def _decoded(raw: bytes, otherwise: str) -> str:
    # Accented letters of other encodings do not come in the pairs that Chinese ones do.
    for encoding in ("utf-8", "gb2312"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode(otherwise)


def _is_clutter(label: str) -> bool:
    """Tell whether a member is hidden, or one of those that macOS adds."""
    parts = [part for part in re.split(r"[/\\]", label) if part not in ("", ".", "..")]
    return not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _visible(name: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in name[:255])

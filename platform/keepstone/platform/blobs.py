"""The bytes of uploaded files, named by their SHA-256: the same bytes are kept once, and a name cannot be chosen.

    store = BlobStore(settings.blob_url)
    blob = store.put(stream, max_bytes=200 << 20)
    with store.open(blob.sha256) as file: ...

    with store.receive(stream, max_bytes=200 << 20) as incoming:    # in two steps
        ...         # whatever is to be done before the bytes are there for all
        incoming.keep()

A folder is used directly; any other URL goes through fsspec (`s3://bucket/keepstone`; the protocol's package must be
installed).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from keepstone.platform.errors import InvalidInput, LimitExceeded, NotFound, SettingsError, Unavailable, storage_errors

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20
_INCOMING = "incoming"
_NEW_S = 5.0
_STALE_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that are stored."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """Bytes that were received whole, and are not stored under their name yet."""

    blob: Blob
    keep: Callable[[], None]
    """Gives them their name; they are on the disk, and stay, when it returns.

    Raises:
        StorageFull: no room is left.
        Unavailable: the store does not answer.
    """


class _Backend(Protocol):
    def receive(self, stream: BinaryIO, max_bytes: int) -> AbstractContextManager[Incoming]: ...
    def open(self, sha256: str) -> BinaryIO: ...
    def local_path(self, sha256: str) -> AbstractContextManager[Path]: ...
    def exists(self, sha256: str) -> bool: ...
    def delete(self, names: Sequence[str]) -> None: ...
    def files(self) -> Iterator[str]: ...
    def free_bytes(self) -> int | None: ...


class BlobStore:
    """A store of immutable bytes.

    Args:
        url: `file:///folder`, a path, or a URL that fsspec knows. What killed processes left half written there is
            removed.

    Raises:
        SettingsError: the package for this kind of URL is not installed.
    """

    def __init__(self, url: str) -> None:
        scheme = urlsplit(url).scheme
        self._backend: _Backend = _Folder(_path(url)) if scheme in ("", "file") else _Remote(url)

    def put(self, stream: BinaryIO, *, max_bytes: int) -> Blob:
        """Store what `stream` gives until its end; all of it is on the disk when this returns, or nothing.

        Raises:
            LimitExceeded: it is longer than `max_bytes`.
            StorageFull: no room is left.
        """
        with self.receive(stream, max_bytes=max_bytes) as incoming:
            incoming.keep()
        return incoming.blob

    def receive(self, stream: BinaryIO, *, max_bytes: int) -> AbstractContextManager[Incoming]:
        """Take in what `stream` gives until its end; what was not kept when the block ends is gone.

        Raises:
            LimitExceeded: it is longer than `max_bytes`.
            StorageFull: no room is left.
        """
        return self._backend.receive(stream, max_bytes)

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading.

        Raises:
            NotFound: there is none.
        """
        return self._backend.open(_checked(sha256))

    def local_path(self, sha256: str) -> AbstractContextManager[Path]:
        """Give a real file with the blob's bytes, to be read only; a remote store lends a copy for the block.

        Raises:
            NotFound: there is none.
        """
        return self._backend.local_path(_checked(sha256))

    def exists(self, sha256: str) -> bool:
        """Tell whether there is such a blob."""
        return self._backend.exists(_checked(sha256))

    def delete(self, *names: str) -> None:
        """Remove blobs, by their sha256; those that are not there are passed over."""
        self._backend.delete([_checked(name) for name in names])

    def iterate(self) -> Iterator[str]:
        """Yield the name of every blob, in no particular order."""
        return (name for name in self._backend.files() if _SHA256.fullmatch(name))

    def verify(self, sha256: str) -> bool:
        """Tell whether the stored bytes are those that the name stands for.

        Raises:
            NotFound: there is none.
        """
        with self.open(sha256) as file:
            return hashlib.file_digest(cast("Any", file), "sha256").hexdigest() == sha256

    def free_bytes(self) -> int | None:
        """Return how many bytes there is room for, or None when the store does not say."""
        return self._backend.free_bytes()


class _Folder:
    """A folder on this machine or on a network file system."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / _INCOMING
        with storage_errors(f"making {root}"):
            self._incoming.mkdir(parents=True, exist_ok=True)
            # All at once, so that storing a file has but its own folder to write to the disk.
            for number in range(256):
                (root / f"{number:02x}").mkdir(exist_ok=True)
            _sync_folder(root)
        for path in self._incoming.iterdir():
            _remove_if_abandoned(path)

    @contextmanager
    def receive(self, stream: BinaryIO, max_bytes: int) -> Iterator[Incoming]:
        temporary = self._incoming / secrets.token_hex(16)
        with _new_file(temporary) as file:
            with storage_errors("storing a file"):
                blob = _copy(stream, file, max_bytes)
                os.fsync(file.fileno())
            yield Incoming(blob, lambda: self._keep(temporary, blob.sha256))

    def _keep(self, temporary: Path, sha256: str) -> None:
        path = self._path(sha256)
        with storage_errors("storing a file"):
            # Also when the blob is there already, which mends one that was damaged.
            temporary.replace(path)
            _sync_folder(path.parent)

    def open(self, sha256: str) -> BinaryIO:
        try:
            return self._path(sha256).open("rb")
        except FileNotFoundError as error:
            raise _missing(sha256) from error

    @contextmanager
    def local_path(self, sha256: str) -> Iterator[Path]:
        path = self._path(sha256)
        if not path.is_file():
            raise _missing(sha256)
        yield path

    def exists(self, sha256: str) -> bool:
        return self._path(sha256).is_file()

    def delete(self, names: Sequence[str]) -> None:
        for path in map(self._path, names):
            with suppress(FileNotFoundError):
                path.unlink()
                _sync_folder(path.parent)

    def files(self) -> Iterator[str]:
        return (path.name for path in self._root.glob("??/*"))

    def free_bytes(self) -> int | None:
        return shutil.disk_usage(self._root).free

    def _path(self, sha256: str) -> Path:
        return self._root / _relative(sha256)


class _Remote:
    """A store that fsspec reaches. Bytes pass through a temporary file here, so that they are known before they go."""

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise SettingsError(
                f"blobs.url names a store that cannot be used: {error}",
                fix="Install the package it names, or use a folder such as file:///srv/keepstone/blobs",
            ) from error
        self._root = str(root).rstrip("/")
        self._url = url
        self._remove_abandoned()

    @contextmanager
    def receive(self, stream: BinaryIO, max_bytes: int) -> Iterator[Incoming]:
        part = f"{self._root}/{_INCOMING}/{secrets.token_hex(16)}"
        try:
            blob = self._send(stream, max_bytes, part)
            yield Incoming(blob, lambda: self._keep(part, blob.sha256))
        finally:
            # It is gone already when it was kept; what cannot be removed now is abandoned, and goes at a later start.
            with suppress(OSError):
                self._files.rm_file(part)

    def _send(self, stream: BinaryIO, max_bytes: int, part: str) -> Blob:
        with storage_errors("receiving a file"), tempfile.TemporaryDirectory(prefix="keepstone-") as folder:
            temporary = Path(folder, "blob")
            with temporary.open("xb") as file:
                blob = _copy(stream, file, max_bytes)
            with self._worded_errors():
                self._files.makedirs(part.rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(temporary), part)
        return blob

    def _keep(self, part: str, sha256: str) -> None:
        path = self._path(sha256)
        with self._worded_errors():
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.mv(part, path)

    def open(self, sha256: str) -> BinaryIO:
        try:
            with self._worded_errors():
                return cast("BinaryIO", self._files.open(self._path(sha256), "rb"))
        except FileNotFoundError as error:
            raise _missing(sha256) from error

    @contextmanager
    def local_path(self, sha256: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="keepstone-") as folder:
            path = Path(folder, sha256)
            with self.open(sha256) as source, storage_errors("fetching a file"), path.open("xb") as file:
                fetched = _copy(source, file, max_bytes=None)
            if fetched.sha256 != sha256:
                raise Unavailable(f"The stored bytes of {sha256} are damaged", fix="Upload the file again")
            yield path

    def exists(self, sha256: str) -> bool:
        with self._worded_errors():
            return bool(self._files.exists(self._path(sha256)))

    def delete(self, names: Sequence[str]) -> None:
        paths = [self._path(name) for name in names]
        with self._worded_errors():
            try:
                # One request for many, where the store can do that.
                self._files.rm(paths)
            except FileNotFoundError:
                for path in paths:
                    with suppress(FileNotFoundError):
                        self._files.rm_file(path)

    def files(self) -> Iterator[str]:
        with self._worded_errors():
            found: list[Any] = self._files.find(self._root)
        return (str(path).rpartition("/")[2] for path in found if f"/{_INCOMING}/" not in str(path))

    def free_bytes(self) -> int | None:
        return None

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{_relative(sha256)}"

    def _remove_abandoned(self) -> None:
        with self._worded_errors(), suppress(FileNotFoundError, NotImplementedError):
            for path in self._files.find(f"{self._root}/{_INCOMING}"):
                if time.time() - self._files.modified(path).timestamp() > _STALE_S:
                    self._files.rm_file(path)

    @contextmanager
    def _worded_errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Unavailable(
                f"The blob store at {self._url} does not answer ({error})",
                fix="Mend it, or blobs.url in keepstone.toml",
            ) from error


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path)) if url.startswith("file:") else Path(url)


def _checked(sha256: str) -> str:
    if not _SHA256.fullmatch(sha256):
        raise InvalidInput("A blob is named by 64 hexadecimal digits")
    return sha256


def _relative(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"


def _copy(stream: BinaryIO, file: BinaryIO, max_bytes: int | None) -> Blob:
    digest, size = hashlib.sha256(), 0
    while block := stream.read(_BLOCK):
        size += len(block)
        if max_bytes is not None and size > max_bytes:
            raise LimitExceeded(
                f"The file is larger than {max_bytes / (1 << 20):.4g} MiB",
                fix="Split it, or raise ingestion.max_file_mb in keepstone.toml",
            )
        digest.update(block)
        file.write(block)
    file.flush()
    return Blob(digest.hexdigest(), size)


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that is locked as long as somebody is at it, and remove what was not moved away."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            path.unlink(missing_ok=True)


def _remove_if_abandoned(path: Path) -> None:
    """Remove a half-written file unless somebody is writing it, which its lock tells."""
    with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        # A file is locked an instant after it was made.
        if time.time() - path.stat().st_mtime > _NEW_S:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _missing(sha256: str) -> NotFound:
    return NotFound(f"The stored bytes {sha256[:12]}... are missing", fix="Upload the file again")

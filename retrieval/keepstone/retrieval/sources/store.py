"""A store that fsspec reaches, such as S3, below a URL that the administrator allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from keepstone.platform.errors import KeepstoneError, LimitExceeded, NotFound, SettingsError, UnreadableDocument
from keepstone.retrieval.loaders.base import shown
from keepstone.retrieval.sources.base import MOST_LEVELS, FoundFile, SteadyReader, listed, unanswered

# What the file systems of fsspec call a mark of the version, or the time of the last change.
_MARKS: Final = (
    "ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "mtime", "updated", "modified",
    "modificationTime", "created",
)  # fmt: skip


class Store:
    """Files below a URL.

    Args:
        url: of fsspec.
        options: what its file system is opened with.

    Raises:
        SettingsError: the package for this kind of URL is not installed.
        Unavailable: the store does not answer.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        import fsspec

        self._url = url
        try:
            # An instance of its own, since shared ones remember listings.
            self._files, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, **options)
        except (ImportError, ValueError) as error:
            kind = url.partition(":")[0]
            missing = (
                '`pip install "keepstone[s3]"`' if kind in ("s3", "s3a") else "Install the package of fsspec for it"
            )
            raise SettingsError(f"Files at {kind}:// cannot be read", fix=missing) from error
        except Exception as error:  # whatever the library of the store raises when it connects
            raise unanswered(url, error) from error
        self._root = str(root).rstrip("/")

    def files(self) -> Iterator[FoundFile]:
        """Yield every file; see `Place`."""
        waiting = [self._root]
        while waiting:
            folder = waiting.pop()
            if folder.count("/") - self._root.count("/") > MOST_LEVELS:
                raise LimitExceeded(
                    f"Folders in {self._url} lie more than {MOST_LEVELS} deep in each other", fix="Flatten them"
                )
            for entry in self._entries(folder):
                name = str(entry["name"]).rstrip("/")
                # A store may list the folder itself, as S3 does where an empty object marks it.
                if not name.startswith(f"{folder}/") or name.rpartition("/")[2].startswith("."):
                    continue
                if entry["type"] == "directory":
                    waiting.append(name)
                elif entry["type"] == "file":
                    yield listed(name.removeprefix(f"{self._root}/"), entry.get("size"), _stamp(entry))

    def has(self, path: str) -> bool:
        """Tell whether there is such a file now; see `Place`."""
        try:
            self._info(path)
        except NotFound:
            return False
        except UnreadableDocument:
            return True
        return True

    @contextmanager
    def open(self, path: str) -> Iterator[SteadyReader]:
        """Open a file; see `Place`."""
        with self._worded(path):
            stream = self._files.open(f"{self._root}/{path}", "rb")
        try:
            yield SteadyReader(stream, lambda: _stamp(self._info(path)))
        finally:
            stream.close()

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = self._files.ls(folder, detail=True)
        except Exception as error:  # whatever the library of the store raises
            raise unanswered(self._url, error) from error
        return found

    def _info(self, path: str) -> dict[str, Any]:
        with self._worded(path):
            self._files.invalidate_cache()
            info: dict[str, Any] = self._files.info(f"{self._root}/{path}")
        if info.get("type") != "file":
            raise NotFound(f"{shown(path)} is no file any more")
        return info

    @contextmanager
    def _worded(self, path: str) -> Iterator[None]:
        try:
            yield
        except KeepstoneError:
            raise
        except FileNotFoundError as error:
            raise NotFound(f"{shown(path)} is not there any more") from error
        except PermissionError as error:
            raise UnreadableDocument(f"{shown(path)} may not be read", fix="Allow Keepstone to read it") from error
        except Exception as error:  # whatever the library of the store raises
            raise unanswered(shown(path), error) from error


def _stamp(info: Mapping[str, Any]) -> str | None:
    mark = next((info[name] for name in _MARKS if info.get(name)), None)
    return None if mark is None else f"{info.get('size')} {mark}"

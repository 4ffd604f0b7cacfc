"""The settings of watched sources; `settings` has the whole tree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints, field_validator

from keepstone.platform.model_settings import Section


class StoreSettings(Section):
    """A store whose files sources may take."""

    url: str
    """What may be taken: all below this URL of fsspec, such as `s3://company/manuals`."""
    options: dict[str, bool | int | SecretStr] = Field(default={})
    """What its file system is opened with, such as `key`, `secret` and `endpoint_url` of S3. Without any, credentials
    are found as its own tools find them: for S3 in variables such as AWS_ACCESS_KEY_ID."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        found = re.fullmatch(r"([a-z][a-z0-9+.-]*)://[^\s?#@]+", url)
        if found is None or "::" in url or ".." in url.split("/"):
            raise ValueError("no URL such as s3://company/manuals; credentials belong in its options")
        if found[1] in ("file", "local"):
            raise ValueError("a folder of this machine belongs in sources.allowed_folders")
        if found[1] in ("http", "https"):
            raise ValueError("pages are fetched by `keepstone ingest URL`, which looks where they lead")
        return url.rstrip("/")


class SourcesSettings(Section):
    """Where collections may take files from by themselves (`keepstone sources add`).

    Anyone who may write in a collection reads there what lies in these places.
    """

    allowed_folders: tuple[Path, ...] = ()
    """Folders of this machine that may be taken, with all below them but what is hidden; no symbolic link in them is
    followed. None may hold the home folder or lie in it."""
    stores: dict[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")], StoreSettings] = Field(
        default={}
    )
    """Stores elsewhere, by names of your choice. S3 needs the extra `s3`, others the package that fsspec names."""
    every_minutes: float = Field(default=15, gt=0)
    """How often sources are looked through for what has changed."""
    max_files: int = Field(default=10_000, ge=1)
    """How many files one source may have."""

    @field_validator("allowed_folders")
    @classmethod
    def _check_folders(cls, folders: tuple[Path, ...]) -> tuple[Path, ...]:
        if wrong := [str(folder) for folder in folders if not folder.is_absolute() or ".." in folder.parts]:
            raise ValueError(f"{wrong[0]!r} is no path from the root, such as /srv/manuals")
        return folders

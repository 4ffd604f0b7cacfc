"""Which places may be taken from: those below what the administrator's settings allow, and no others.

place = open_place(settings.sources, "/srv/manuals/pumps")
"""

from __future__ import annotations

from pathlib import PurePosixPath

from pydantic import SecretStr

from keepstone.platform.errors import Forbidden, InvalidInput
from keepstone.platform.sources_settings import SourcesSettings
from keepstone.retrieval.sources.base import Place
from keepstone.retrieval.sources.folder import Folder
from keepstone.retrieval.sources.store import Store

_LONGEST = 1000


def normal_location(location: str) -> str:
    """Return a location in the one form in which it is kept.

    Raises:
        InvalidInput: it is neither a folder's path nor a URL of fsspec, or it holds a name or password.
    """
    protocol, mark, rest = location.strip().partition("://")
    if not mark:
        protocol, rest = "file", location.strip()
    parts = rest.split("/")
    is_odd = ".." in parts or "::" in location or not location.isprintable() or len(location) > _LONGEST
    if is_odd or (protocol == "file" and not rest.startswith("/")) or not rest.strip("/"):
        raise InvalidInput(
            f"{location[:200]!r} is no place to take files from",
            fix="Give a folder of the machine that Keepstone runs on, such as /srv/manuals, or a URL such as s3://company/manuals",
        )
    if protocol == "file":
        return str(PurePosixPath("/", *filter(None, parts)))
    if "@" in parts[0] or "?" in rest or "#" in rest:
        raise InvalidInput(
            "The URL holds more than a place, such as a name or password",
            fix="Give it without; credentials belong in sources.stores in keepstone.toml",
        )
    return f"{protocol}://{rest.rstrip('/')}"


def open_place(settings: SourcesSettings, location: str) -> Place:
    """Return the place.

    Args:
        settings: what is allowed.
        location: as `normal_location` returns it.

    Raises:
        Forbidden: it lies in nothing that is allowed.
        SettingsError: the package for its kind is not installed.
        Unavailable: it does not answer.
    """
    if "://" not in location:
        path = PurePosixPath(location)
        allowed = [folder for folder in settings.allowed_folders if path.is_relative_to(folder)]
        if allowed:
            root = max(allowed, key=lambda folder: len(folder.parts))
            parts = path.relative_to(root).parts
            # What a look passes over is not to be had by its name either.
            if not any(part.startswith(".") for part in parts):
                return Folder(root, parts)
    for store in sorted(settings.stores.values(), key=lambda each: len(each.url), reverse=True):
        if f"{location}/".startswith(f"{store.url}/"):
            options = {
                name: value.get_secret_value() if isinstance(value, SecretStr) else value
                for name, value in store.options.items()
            }
            return Store(location, options)
    raise Forbidden(f"Files may not be taken from {location}", fix=_allowed(settings))


def _allowed(settings: SourcesSettings) -> str:
    places = [*map(str, settings.allowed_folders), *(store.url for store in settings.stores.values())]
    if places:
        return (
            f"Take them from below {' or '.join(places)}; an administrator can allow more (sources in keepstone.toml)"
        )
    return "An administrator can allow it: sources.allowed_folders or sources.stores in keepstone.toml"

"""The version of this installation."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Return the version of Keepstone that is installed."""
    return metadata.version("keepstone")

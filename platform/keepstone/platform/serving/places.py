"""The places that a home folder has for engines: two, so that a second can start while the first still answers.

Each place has a lock, a record of its processes and a log of its own, named after it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

PLACES: Final = ("engine", "engine-b")
"""Usually the first is taken; after a hand-over it is the second, until the next one or the next start."""


def lock_path(home: Path, place: str) -> Path:
    """Return the file that whoever runs an engine in this place holds."""
    return home / "engine" / f"{place}.lock"


def record_path(home: Path, place: str) -> Path:
    """Return where session and process group of the engine last started in this place stand."""
    return home / "engine" / f"{place}.json"

"""Writing files so that a kill or a full disk leaves the old content or the new, never something between."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from keepstone.platform.errors import storage_errors


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step.

    Raises:
        StorageFull: no room; the file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with storage_errors(f"writing {path.name}"), temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_path(path.parent)


def fsync_path(path: Path) -> None:
    """Force a file's content, or a folder's entries, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

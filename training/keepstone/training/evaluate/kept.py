"""What a judging has measured by now, in a folder, so that one that is killed loses at most one batch."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keepstone.platform.errors import storage_errors
from keepstone.retrieval.indexes.files import write_atomically


class Kept:
    """The measurements of one judging.

    Args:
        folder: its own; it need not exist.
        subject: what is compared; measurements of anything else that are found there are not taken.
    """

    def __init__(self, folder: Path, *subject: str) -> None:
        self._folder = folder
        self._subject = subject

    def find(self, *name: Any) -> Any:
        """Return what was kept under a name, which JSON can hold, as JSON gives it back; None if nothing was."""
        try:
            return json.loads(self._path(name).read_bytes())
        except FileNotFoundError:
            return None

    def keep(self, value: Any, *name: Any) -> Any:
        """Keep a value that JSON can hold, and return it as it will come back.

        Raises:
            StorageFull: no room.
        """
        content = json.dumps(value, allow_nan=False).encode()
        with storage_errors("judging a model"):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self._path(name), content)
        return json.loads(content)

    def remember(self, measure: Callable[[], Any], *name: Any) -> Any:
        """Return what was kept under a name, or measure it now."""
        known = self.find(*name)
        return self.keep(measure(), *name) if known is None else known

    def forget(self) -> None:
        """Delete all."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: tuple[Any, ...]) -> Path:
        digest = hashlib.sha256(json.dumps([self._subject, name]).encode()).hexdigest()
        return self._folder / f"{digest[:32]}.json"

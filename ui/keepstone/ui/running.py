"""The app that runs on a home folder: the file by which commands find it.

`app.json` holds `{"url", "pid", "key"}`, readable by its owner only. It counts while the process it names holds the
home's lock, so one that a killed app left behind is not believed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from keepstone.platform.errors import storage_errors
from keepstone.platform.locks import holder


@dataclass(frozen=True, slots=True)
class RunningApp:
    """Where the app answers, and the key of this machine's administrator."""

    url: str
    pid: int
    key: str


def lock_path(home: Path) -> Path:
    """Return the lock that the process at work on `home` holds."""
    return home / "app.lock"


def find_app(home: Path) -> RunningApp | None:
    """Return the app that runs on `home`, or None."""
    try:
        app = RunningApp(**json.loads((home / "app.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return app if holder(lock_path(home)) == app.pid else None


@contextmanager
def announced(home: Path, app: RunningApp) -> Iterator[None]:
    """Let commands find `app` until the block ends."""
    path, draft = home / "app.json", home / f".app.json.{app.pid}"
    with storage_errors(f"writing {path}"):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(app), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)

"""A home folder with a tiny encoder that knows the words of a collection of handbooks, and an app on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keepstone.platform import logs
from keepstone.platform.database import Database
from keepstone.platform.models import files
from keepstone.platform.models.registry import ModelRegistry
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.platform.settings import LoggingSettings, load_settings
from keepstone.training.improve import ImproveConfig
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest
from tests.training.data.handbooks import handbooks
from tests.training.tiny_models import tiny_encoder

COLLECTION = "handbooks"
WAIT_S = 240.0
OPTIONS: dict[str, dict[str, Any]] = {
    "dataset": {"source": "sentences", "passages": 400, "test_share": 0.4, "found_within": 50},
    "embedding": {"epochs": 5, "batch_size": 32, "learning_rate": 3e-3, "merge": 1, "save_every": 10},
}
"""Enough to make something of an encoder that knows nothing, in seconds."""
ORDER = ImproveConfig(collection=COLLECTION, recipes=("embedding",), options=OPTIONS)


def prepare(home: Path, documents: int = 30) -> Path:
    """Put a tiny encoder and a collection into a home folder."""
    home.mkdir(parents=True, exist_ok=True)
    content = handbooks(documents)
    words = sorted({word.lower() for text in content.values() for word in re.findall(r"\w+", text.decode())})
    folder = tiny_encoder(home / "models" / "tiny", words=words)
    database = Database(f"sqlite:///{home / 'keepstone.db'}")
    database.upgrade()
    ModelRegistry(database, home).add(
        name="tiny",
        kind="encoder",
        version=files.version_of(files.hash_files(folder)),
        path=folder,
        source="test",
        details={"languages": ["en"], "max_tokens": 32},
    )
    database.close()
    with app_on(home) as runtime:
        ingest(runtime, admin(runtime), COLLECTION, content)
    return home


@contextmanager
def app_on(home: Path, engine: ScriptedEngine | None = None) -> Iterator[Runtime]:
    """Open an app whose encoder is the tiny one."""
    logs.configure(LoggingSettings(level="error"))
    encoder = {"model": "tiny", "dtype": "float32", "threads": 1}
    # By meaning alone, since words find everything here; and without declining, which is fitted to other encoders.
    search, answering = {"dense_weight": 1.0}, {"abstain_below": 0.0}
    settings = load_settings(
        home=home, encoder=encoder, chunking={"max_tokens": 64}, search=search, answering=answering
    )
    with Runtime.open(settings, engine=engine or ScriptedEngine()) as runtime:
        yield runtime

"""The whole of Keepstone in one process, with an encoder and a language model that need no weights."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keepstone.platform import logs
from keepstone.platform.access import Principal
from keepstone.platform.accounts import SCOPES, create_principal, ensure_local_admin
from keepstone.platform.database.tables import JobRow
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.platform.settings import LoggingSettings, load_settings
from keepstone.retrieval.encoder import Encoder, HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.ui.runtime import Runtime

WAIT_S = 60.0
NEVER_DECLINES = {"abstain_below": -1000.0, "style": "write"}
"""Settings for `answering`: the light encoder's scores are not those that the threshold was fitted to."""


@contextmanager
def open_stack(
    home: Path, *, engine: ScriptedEngine | None = None, encoder: Encoder | Encoders | None = None, **settings: Any
) -> Iterator[Runtime]:
    """Open a runtime on `home` as the app does, without vLLM."""
    # As the app logs; structlog's own default prints every local variable.
    logs.configure(LoggingSettings(level="error"))
    loaded = load_settings(home=home, **settings)
    with Runtime.open(loaded, engine=engine or ScriptedEngine(), encoder=encoder or HashEncoder()) as runtime:
        yield runtime


def admin(runtime: Runtime) -> Principal:
    """Return the local administrator with all scopes."""
    with runtime.database.transaction() as session:
        row = ensure_local_admin(session)
        return Principal(row.id, row.name, is_admin=True, scopes=frozenset(SCOPES))


def someone(runtime: Runtime, name: str, *scopes: str) -> Principal:
    """Return a new principal who is nobody special."""
    with runtime.database.transaction() as session:
        row = create_principal(session, name)
        return Principal(row.id, row.name, is_admin=False, scopes=frozenset(scopes or SCOPES))


def ingest(runtime: Runtime, principal: Principal, collection: str, files: dict[str, bytes]) -> JobRow:
    """Add files to a collection, which is made if need be, and wait until they are in."""
    if collection not in {each.name for each in runtime.library.collections(principal)}:
        runtime.library.create_collection(principal, collection)
    added = [
        runtime.library.add_document(principal, collection, name, io.BytesIO(data)) for name, data in files.items()
    ]
    queued = [each.document.id for each in added if each.outcome == "queued"]
    job_id = runtime.ingestion.submit(principal, collection, queued)
    return runtime.jobs.wait(job_id, WAIT_S)

"""What tests of sources share: a folder to take from, and waiting for a look to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from keepstone.platform.database.tables import JobRow
from keepstone.retrieval.sources import SourceInfo
from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, admin

STORE = {"url": "memory://company/manuals"}


def settings(allowed: Path) -> dict[str, Any]:
    sources = {"allowed_folders": (allowed,), "stores": {"company": STORE}, "max_files": 20}
    return {"ingestion": {"max_file_mb": 1}, "sources": sources}


def filled(folder: Path) -> Path:
    """Make a folder with two files in `docs`, and return it."""
    (folder / "docs" / "pumps").mkdir(parents=True)
    (folder / "docs" / "guide.md").write_text("# Guide\n\nThe lamp lasts 900 hours.")
    (folder / "docs" / "pumps" / "p40.md").write_text("# P40\n\nThe pump moves 40 litres.")
    return folder


def added(runtime: Runtime, location: Path | str, name: str | None = None) -> SourceInfo:
    source = runtime.sources.add(admin(runtime), "docs", str(location), name)
    assert source.job_id
    looked(runtime, source.job_id)
    return source


def looked(runtime: Runtime, job_id: str) -> JobRow:
    """Wait for a look, and for the ingestion that it ordered."""
    job = runtime.jobs.wait(job_id, WAIT_S)
    with runtime.database.reading() as session:
        ingestions = session.scalars(sa.select(JobRow.id).where(JobRow.kind == "ingest")).all()
    for each in ingestions:
        runtime.jobs.wait(each, WAIT_S)
    return job


def look(runtime: Runtime, source: SourceInfo, *, empty: bool = False) -> JobRow:
    return looked(runtime, runtime.sources.sync(admin(runtime), "docs", source.id, empty=empty))


def documents(runtime: Runtime) -> dict[str, str]:
    """Return the states of the documents by name."""
    return {each.name: str(each.state) for each in runtime.library.documents(admin(runtime), "docs")}

"""The whole product with everything in PostgreSQL: vectors, words and truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstone.platform.access import readable_scope
from keepstone.platform.database.tables import JobState
from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, admin, ingest, open_stack

_FILES = {
    f"{name}.txt": f"The {name} lasts {number} hours. ".encode() * 20 for number, name in enumerate(["lamp", "fuse"])
}
_QUESTIONS = ("How long does the lamp last?", "fuse", "pump 7 hours")


def _found(runtime: Runtime) -> list[list[tuple[int, float]]]:
    with runtime.database.reading() as session:
        scope = readable_scope(session, admin(runtime))
    return [
        [(hit.chunk_id, round(hit.score, 6)) for hit in runtime.searcher.search(scope, question).hits]
        for question in _QUESTIONS
    ]


@pytest.mark.postgres
def test_documents_come_change_and_go(tmp_path: Path, postgres_url: str) -> None:
    """What is found afterwards is what indexes find that were built just then, and doctor has no complaint."""
    chosen = {"database": {"url": postgres_url}, "indexes": {"vectors": "pgvector", "words": "postgres"}}
    with open_stack(tmp_path / "one", **chosen) as runtime:
        me = admin(runtime)
        ingest(runtime, me, "docs", _FILES)
        ingest(runtime, me, "docs", {"pump.txt": b"The pump lasts 7 hours.", "lamp.txt": b"The lamp lasts 99 hours."})
        collection = runtime.library.collection(me, "docs")
        [fuse] = [each for each in runtime.library.documents(me, "docs") if each.name == "fuse.txt"]
        runtime.library.delete_document(me, fuse.id)
        for job_id in runtime.ingestion.rechunk(me, "docs", {"chunker": "recursive", "max_tokens": 32}):
            assert runtime.jobs.wait(job_id, WAIT_S).state == JobState.SUCCEEDED
        runtime.indexes.catch_up_all()
        assert runtime.indexes.verify(collection.id).ok
        before = _found(runtime)
        assert all(before)
        runtime.indexes.get(collection.id).rebuild(runtime.database)
        assert _found(runtime) == before
    with open_stack(tmp_path / "two", **chosen) as other:
        # Another app on the same database finds the indexes as they are.
        assert other.indexes.catch_up(collection.id) == 0
        assert _found(other) == before

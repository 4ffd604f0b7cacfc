"""A copy of a collection that is cut otherwise: complete, nobody else's, and finished after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from keepstone.platform.access import readable_scope
from keepstone.platform.database.tables import ChunkRow, DocumentRow
from keepstone.platform.errors import Cancelled
from keepstone.platform.settings import ChunkingSettings
from keepstone.retrieval.recut import Recut, open_recut
from keepstone.retrieval.search import Searcher
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest, open_stack
from tests.training.data.handbooks import handbooks

_SMALL = ChunkingSettings(chunker="recursive", max_tokens=32)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_stack(Path(tmp_path_factory.mktemp("home"))) as opened:
        ingest(opened, admin(opened), "docs", handbooks(40))
        yield opened


def collection_id(runtime: Runtime) -> str:
    return runtime.library.collection(admin(runtime), "docs").id


def chunks(copy: Recut | Runtime) -> dict[str, list[tuple[int, int]]]:
    """Return the spans of all documents, after checking that each is what stands there."""
    found: dict[str, list[tuple[int, int]]] = {}
    with copy.database.reading() as session:
        query = sa.select(ChunkRow, DocumentRow.text).join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
        for chunk, text in session.execute(query.order_by(ChunkRow.id)):
            assert chunk.text == text[chunk.start : chunk.end]
            found.setdefault(chunk.document_id, []).append((chunk.start, chunk.end))
    return found


def test_the_copy_is_searched_and_the_collection_stays_as_it_is(runtime: Runtime, tmp_path: Path) -> None:
    before, mine = chunks(runtime), collection_id(runtime)
    with open_recut(tmp_path, runtime.database, mine, encoders=runtime.encoders, chunking=_SMALL) as copy:
        assert chunks(copy).keys() == before.keys()
        assert sum(map(len, chunks(copy).values())) > sum(map(len, before.values()))
        assert copy.indexes.verify(mine).ok
        with runtime.database.reading() as session:
            scope = readable_scope(session, admin(runtime), ["docs"])
        searcher = Searcher(copy.database, runtime.encoders, copy.indexes, runtime.settings.search)
        hits = searcher.search(scope, "How long may one wait until the filter is cleaned?").hits
        assert {hit.document_id for hit in hits} <= before.keys()
        assert len(hits) == 10
    assert chunks(runtime) == before
    assert runtime.indexes.verify(mine).ok


def test_what_was_copied_is_not_copied_again(runtime: Runtime, tmp_path: Path) -> None:
    mine = collection_id(runtime)

    def open_copy(stop_at: int) -> int:
        calls = 0

        def check() -> None:
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise Cancelled("Stopped")

        with open_recut(
            tmp_path, runtime.database, mine, encoders=runtime.encoders, chunking=_SMALL, check=check
        ) as copy:
            assert chunks(copy).keys() == chunks(runtime).keys()
        return calls

    with pytest.raises(Cancelled):
        open_copy(stop_at=36)  # among the documents behind the first 32
    assert open_copy(stop_at=0) < 12
    assert open_copy(stop_at=0) == 0

"""A collection's own way of cutting, and the change to another one while people search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from keepstone.platform.access import readable_scope
from keepstone.platform.database.tables import ChunkRow, DocumentRow, DocumentState, JobState
from keepstone.platform.errors import Forbidden, InvalidInput
from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, admin, ingest, open_stack, someone

_LONG = " ".join(f"Lamp number {number} lasts 900 hours." for number in range(40)).encode()
_FILES = {"lamps.txt": _LONG, "more.txt": _LONG.replace(b"Lamp", b"Fuse")}
_SMALL = {"chunker": "recursive", "max_tokens": 32}


@pytest.fixture
def runtime(tmp_path: Path, both_urls: str) -> Iterator[Runtime]:
    with open_stack(tmp_path / "home", database={"url": both_urls}) as opened:
        yield opened


def chunkers(runtime: Runtime) -> set[str | None]:
    """Return what cut the documents, after checking that it left a whole index."""
    with runtime.database.reading() as session:
        count = sa.select(sa.func.count()).where(ChunkRow.document_id == DocumentRow.id).scalar_subquery()
        rows = session.execute(sa.select(DocumentRow.chunker, DocumentRow.state, DocumentRow.chunk_count == count))
        found = {tuple(row) for row in rows}
    assert {each[1:] for each in found} == {(DocumentState.READY, True)}
    assert runtime.indexes.verify(runtime.library.collection(admin(runtime), "docs").id).ok
    return {each[0] for each in found}


def rechunk(runtime: Runtime, chunking: dict[str, object]) -> None:
    for job_id in runtime.ingestion.rechunk(admin(runtime), "docs", chunking):
        assert runtime.jobs.wait(job_id, WAIT_S).state == JobState.SUCCEEDED


def test_a_collection_is_cut_as_it_was_made_to_be(runtime: Runtime) -> None:
    me = admin(runtime)
    made = runtime.library.create_collection(me, "docs", chunking={"chunker": "tokens", "max_tokens": "40"})
    assert (made.chunking.chunker, made.chunking.max_tokens, made.own_chunking) == ("tokens", 40, True)
    ingest(runtime, me, "docs", _FILES)
    assert chunkers(runtime) == {"tokens/1 max_tokens=40 overlap_tokens=0 headings=True"}
    with pytest.raises(InvalidInput, match="no option"):
        runtime.library.create_collection(me, "other", chunking={"size": 3})


def test_documents_are_cut_anew_and_later_ones_too(runtime: Runtime) -> None:
    me = admin(runtime)
    ingest(runtime, me, "docs", _FILES)
    before = runtime.library.collection(me, "docs")
    assert not before.own_chunking
    rechunk(runtime, _SMALL)
    ingest(runtime, me, "docs", {"later.txt": _LONG.replace(b"Lamp", b"Pump")})
    assert chunkers(runtime) == {"recursive/1 max_tokens=32 overlap_tokens=0 headings=True"}
    after = runtime.library.collection(me, "docs")
    assert after.own_chunking
    assert after.chunks > before.chunks
    rechunk(runtime, {})
    assert chunkers(runtime) == {"structure/1 max_tokens=200 overlap_tokens=0 headings=True"}
    assert not runtime.library.collection(me, "docs").own_chunking


def test_old_passages_are_found_until_the_new_ones_take_their_place(runtime: Runtime) -> None:
    ingest(runtime, admin(runtime), "docs", _FILES)
    encode = runtime.ingestion._encode
    found: list[str] = []

    def search_before(*arguments: object) -> None:
        with runtime.database.reading() as session:
            scope = readable_scope(session, admin(runtime))
        found.extend(hit.document_name for hit in runtime.searcher.search(scope, "How long does lamp 7 last?").hits)
        encode(*arguments)  # type: ignore[arg-type]

    runtime.ingestion._encode = search_before  # type: ignore[method-assign]
    rechunk(runtime, _SMALL)
    assert set(found) == set(_FILES)


def test_a_choice_made_while_documents_come_in_holds_for_all_of_them(runtime: Runtime) -> None:
    """What was cut in the former way, but not yet committed, is cut again."""
    encode = runtime.ingestion._encode
    jobs: list[str] = []

    def encode_then_choose(*arguments: object) -> None:
        encode(*arguments)  # type: ignore[arg-type]
        if not jobs:
            jobs.extend(runtime.ingestion.rechunk(admin(runtime), "docs", _SMALL) or ["none was ready"])

    runtime.ingestion._encode = encode_then_choose  # type: ignore[method-assign]
    assert ingest(runtime, admin(runtime), "docs", _FILES).state == JobState.SUCCEEDED
    assert jobs == ["none was ready"]
    assert chunkers(runtime) == {"recursive/1 max_tokens=32 overlap_tokens=0 headings=True"}


def test_a_change_goes_on_at_the_next_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with open_stack(home) as first:
        ingest(first, admin(first), "docs", _FILES)
        jobs = first.ingestion.rechunk(admin(first), "docs", _SMALL)
    with open_stack(home) as second:
        for job_id in jobs:
            assert second.jobs.wait(job_id, WAIT_S).state == JobState.SUCCEEDED
        assert chunkers(second) == {"recursive/1 max_tokens=32 overlap_tokens=0 headings=True"}


def test_only_owners_decide(runtime: Runtime) -> None:
    writer = someone(runtime, "bob")
    runtime.library.create_collection(admin(runtime), "docs")
    runtime.library.grant(admin(runtime), "docs", "bob", "writer")
    with pytest.raises(Forbidden):
        runtime.ingestion.rechunk(writer, "docs", _SMALL)

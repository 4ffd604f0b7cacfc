"""The promises of ingestion: nothing doubled, nothing lost, one file's fault is that file's alone."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from keepstone.platform.access import readable_scope
from keepstone.platform.database.tables import ChunkRow, DocumentRow, DocumentState, JobState
from keepstone.platform.errors import Forbidden, InvalidInput, LimitExceeded, NotFound
from keepstone.retrieval.encoder import HashEncoder
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest, open_stack, someone

GUIDE = "# Guide\n\n## Lamp\n\nThe lamp lasts 900 hours.\n\n## Fuse\n\nThe fuse is rated at 3 ampere.\n"


@pytest.fixture
def runtime(tmp_path: Path, both_urls: str) -> Iterator[Runtime]:
    with open_stack(tmp_path / "home", database={"url": both_urls}, ingestion={"max_file_mb": 1}) as opened:
        yield opened


def chunk_texts(runtime: Runtime) -> list[str]:
    with runtime.database.reading() as session:
        return list(session.scalars(sa.select(ChunkRow.text).order_by(ChunkRow.id)))


def found(runtime: Runtime, query: str) -> list[str]:
    with runtime.database.reading() as session:
        scope = readable_scope(session, admin(runtime))
    return [hit.document_name for hit in runtime.searcher.search(scope, query, k=5).hits]


def test_documents_become_findable_chunks_with_exact_spans(runtime: Runtime) -> None:
    me = admin(runtime)
    job = ingest(runtime, me, "docs", {"guide.md": GUIDE.encode(), "other.txt": b"Nothing about it."})
    assert (job.state, job.done, job.total) == (JobState.SUCCEEDED, 2, 2)
    assert found(runtime, "How long does the lamp last?")[0] == "guide.md"
    with runtime.database.reading() as session:
        for chunk, document in session.execute(sa.select(ChunkRow, DocumentRow).join(DocumentRow)):
            assert document.text is not None
            assert document.text[chunk.start : chunk.end] == chunk.text
    assert runtime.indexes.verify(runtime.library.collection(me, "docs").id).ok


def test_the_same_bytes_twice_make_nothing_new(runtime: Runtime) -> None:
    me = admin(runtime)
    ingest(runtime, me, "docs", {"guide.md": GUIDE.encode()})
    before = chunk_texts(runtime)
    same = runtime.library.add_document(me, "docs", "guide.md", io.BytesIO(GUIDE.encode()))
    renamed = runtime.library.add_document(me, "docs", "copy.md", io.BytesIO(GUIDE.encode()))
    assert (same.outcome, renamed.outcome, renamed.document.name) == ("unchanged", "duplicate", "guide.md")
    assert chunk_texts(runtime) == before


def test_a_changed_file_replaces_its_chunks(runtime: Runtime) -> None:
    me = admin(runtime)
    ingest(runtime, me, "docs", {"guide.md": GUIDE.encode()})
    ingest(runtime, me, "docs", {"guide.md": b"# Guide\n\nThe lamp lasts 1200 hours."})
    assert not any("900" in text for text in chunk_texts(runtime))
    assert len(runtime.library.documents(me, "docs")) == 1
    assert runtime.indexes.verify(runtime.library.collection(me, "docs").id).ok


def test_a_change_that_cannot_be_read_leaves_the_old_version_answering(runtime: Runtime) -> None:
    me = admin(runtime)
    ingest(runtime, me, "docs", {"guide.md": GUIDE.encode()})
    ingest(runtime, me, "docs", {"guide.md": b"%PDF-1.4 broken"})
    [document] = runtime.library.documents(me, "docs")
    assert document.state == DocumentState.FAILED
    assert document.error
    assert found(runtime, "lamp hours") == ["guide.md"] * len(found(runtime, "lamp hours")) != []


def test_one_bad_file_spoils_no_other(runtime: Runtime) -> None:
    me = admin(runtime)
    files = {"a.md": GUIDE.encode(), "empty.txt": b"", "junk.pdf": bytes(range(256)) * 20, "z.txt": b"The end is near."}
    assert ingest(runtime, me, "docs", files).state == JobState.SUCCEEDED
    states = {each.name: each.state for each in runtime.library.documents(me, "docs")}
    assert states == {
        "a.md": DocumentState.READY,
        "empty.txt": DocumentState.FAILED,
        "junk.pdf": DocumentState.FAILED,
        "z.txt": DocumentState.READY,
    }


def test_a_deleted_document_is_gone_at_once(runtime: Runtime) -> None:
    me = admin(runtime)
    ingest(runtime, me, "docs", {"guide.md": GUIDE.encode(), "other.txt": b"The lamp is green."})
    [guide] = [each for each in runtime.library.documents(me, "docs") if each.name == "guide.md"]
    runtime.library.delete_document(me, guide.id)
    assert "guide.md" not in found(runtime, "lamp hours")
    with pytest.raises(NotFound):
        runtime.library.document(me, guide.id)
    runtime.indexes.catch_up_all()
    assert runtime.indexes.verify(runtime.library.collection(me, "docs").id).ok


def test_a_deleted_collection_takes_everything_along(runtime: Runtime) -> None:
    me = admin(runtime)
    ingest(runtime, me, "docs", {"guide.md": GUIDE.encode()})
    runtime.library.delete_collection(me, "docs")
    assert chunk_texts(runtime) == []
    assert found(runtime, "lamp") == []


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(runtime: Runtime) -> None:
    me = admin(runtime)
    runtime.library.create_collection(me, "docs")
    with pytest.raises(LimitExceeded, match="1"):
        runtime.library.add_document(me, "docs", "big.txt", io.BytesIO(b"a" * (2**20 + 1)))
    assert runtime.library.documents(me, "docs") == []
    assert list(runtime.blobs.iterate()) == []


def test_strangers_see_nothing_and_readers_change_nothing(runtime: Runtime) -> None:
    me, stranger, reader = admin(runtime), someone(runtime, "eve"), someone(runtime, "bob")
    ingest(runtime, me, "docs", {"guide.md": GUIDE.encode()})
    runtime.library.grant(me, "docs", "bob", "reader")
    [document] = runtime.library.documents(me, "docs")
    assert runtime.library.collections(stranger) == []
    with pytest.raises(NotFound):
        runtime.library.document(stranger, document.id)
    with runtime.database.reading() as session:
        assert readable_scope(session, stranger).collection_ids == ()
    assert runtime.library.document_text(reader, document.id).text
    with pytest.raises(Forbidden):
        runtime.library.delete_document(reader, document.id)


def test_failed_documents_can_be_queued_again(runtime: Runtime) -> None:
    me = admin(runtime)
    ingest(runtime, me, "docs", {"empty.txt": b""})
    [queued] = runtime.library.requeue(me, "docs")
    runtime.jobs.wait(runtime.ingestion.submit(me, "docs", [queued]), 60)
    assert runtime.library.document(me, queued).state == DocumentState.FAILED


def test_what_was_stored_but_never_queued_is_picked_up_at_the_next_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with open_stack(home) as first:
        me = admin(first)
        first.library.create_collection(me, "docs")
        first.library.add_document(me, "docs", "guide.md", io.BytesIO(GUIDE.encode()))
    with open_stack(home) as second:
        [job_id] = second.resumed
        assert second.jobs.wait(job_id, 60).state == JobState.SUCCEEDED
        assert second.library.documents(admin(second), "docs")[0].state == DocumentState.READY


def test_another_encoder_makes_all_vectors_anew(tmp_path: Path) -> None:
    from keepstone.retrieval.encoder import HashEncoder

    home = tmp_path / "home"
    with open_stack(home) as first:
        ingest(first, admin(first), "docs", {"guide.md": GUIDE.encode()})
    with open_stack(home, encoder=HashEncoder(128)) as second:
        for job_id in second.resumed:
            assert second.jobs.wait(job_id, 60).state == JobState.SUCCEEDED
        assert found(second, "lamp hours")[0] == "guide.md"
        assert second.indexes.verify(second.library.collection(admin(second), "docs").id).ok


class Waiting(HashEncoder):
    """An encoder that takes as long over a text about whales as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if any("whale" in text for text in texts):
            self.begun.set()
            assert self.go_on.wait(60)
        return super().encode_documents(texts)


def test_a_document_that_takes_long_holds_up_nobody_else(tmp_path: Path) -> None:
    encoder = Waiting()
    with open_stack(tmp_path / "home", encoder=encoder) as runtime:
        me = admin(runtime)
        runtime.library.create_collection(me, "whales")
        whale = runtime.library.add_document(me, "whales", "whale.md", io.BytesIO(b"The whale is long."))
        slow = runtime.ingestion.submit(me, "whales", [whale.document.id])
        assert encoder.begun.wait(60)
        assert ingest(runtime, me, "docs", {"guide.md": GUIDE.encode()}).state == JobState.SUCCEEDED
        assert runtime.jobs.get(slow).state == JobState.RUNNING
        encoder.go_on.set()
        assert runtime.jobs.wait(slow, 60).state == JobState.SUCCEEDED


class Strict(HashEncoder):
    """An encoder that refuses texts about whales, as a server may refuse what is too long for it."""

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if any("whale" in text for text in texts):
            raise InvalidInput("The encoder's server refused the texts", fix="Lower encoder.max_tokens")
        return super().encode_documents(texts)


def test_a_text_that_the_encoder_refuses_is_its_documents_fault_alone(tmp_path: Path) -> None:
    with open_stack(tmp_path / "home", encoder=Strict()) as runtime:
        me = admin(runtime)
        files = {"a.md": GUIDE.encode(), "whale.md": b"The whale is long.", "z.txt": b"The end is near."}
        assert ingest(runtime, me, "docs", files).state == JobState.SUCCEEDED
        states = {each.name: each.state for each in runtime.library.documents(me, "docs")}
        assert states == {
            "a.md": DocumentState.READY,
            "whale.md": DocumentState.FAILED,
            "z.txt": DocumentState.READY,
        }
        [whale] = [each for each in runtime.library.documents(me, "docs") if each.name == "whale.md"]
        assert "refused" in str(whale.error)

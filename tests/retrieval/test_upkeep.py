"""What nothing refers to any more goes, and nothing else: no index misses a change, no passage its vector."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from keepstone.platform.blobs import BlobStore
from keepstone.platform.database import Database
from keepstone.platform.database.tables import Base, ChangeRow, DocumentRow, DocumentState, EmbeddingRow, JobState
from keepstone.retrieval import embeddings, upkeep
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes import IndexSet
from keepstone.retrieval.ingest import Ingestion
from keepstone.retrieval.reindex import Reindexing
from keepstone.retrieval.upkeep import Upkeep
from tests.retrieval.corpus import add_collection, add_document, remove_document
from tests.stack import admin, ingest, open_stack

ENCODER = HashEncoder(16)
ENCODERS = Encoders(ENCODER)


def rows(database: Database, table: type[Base]) -> int:
    with database.reading() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def settled(indexes: IndexSet) -> None:
    """Let the indexes learn and save all there is."""
    indexes.catch_up_all()
    indexes.save()


def test_deleted_documents_leave_the_change_table_and_the_cache(both_databases: Database, tmp_path: Path) -> None:
    database = both_databases
    collection = add_collection(database, ENCODER)
    kept = [add_document(database, ENCODER, collection, f"kept {n}", [f"red fox {n}", "shared"]) for n in range(3)]
    gone = [add_document(database, ENCODER, collection, f"gone {n}", [f"blue hen {n}", "shared"]) for n in range(20)]
    with IndexSet(database, tmp_path / "indexes", ENCODERS) as indexes:
        settled(indexes)
        for document in gone:
            remove_document(database, document)
        settled(indexes)
        tidy = Upkeep(database, BlobStore(str(tmp_path / "blobs")), indexes, Reindexing(database, ENCODERS, indexes))
        rounds = [tidy.round(), tidy.round(), tidy.round()]
        assert sum(each.changes for each in rounds) == 85  # of 86: the last one marks where the index stands
        assert (rows(database, ChangeRow), rows(database, EmbeddingRow)) == (1, 4)
        assert rounds[2].changes == rounds[2].vectors == 0
        assert indexes.verify(collection).ok
        assert indexes.get(collection).words.count == 2 * len(kept)


def test_an_index_older_than_the_pruned_changes_is_built_anew(database: Database, tmp_path: Path) -> None:
    """A folder put back from a backup, or another machine's, has missed what is not told any more."""
    collection = add_collection(database, ENCODER)
    first = add_document(database, ENCODER, collection, "a", ["red fox", "blue hen"])
    folder, backup = tmp_path / "indexes", tmp_path / "backup"
    with IndexSet(database, folder, ENCODERS) as indexes:
        settled(indexes)
    shutil.copytree(folder, backup)
    with IndexSet(database, folder, ENCODERS) as indexes:
        remove_document(database, first)
        add_document(database, ENCODER, collection, "b", ["green cow"])
        settled(indexes)
        tidy = Upkeep(database, BlobStore(str(tmp_path / "blobs")), indexes, Reindexing(database, ENCODERS, indexes))
        assert sum(tidy.round().changes for _ in range(2)) == 4
    with IndexSet(database, backup, ENCODERS) as old:
        old.catch_up_all()
        assert old.verify(collection).ok
        assert old.get(collection).words.count == 1


def test_an_index_that_lags_finds_its_changes(both_databases: Database, tmp_path: Path) -> None:
    """Another process on the same database has until the next round to follow, and is not built anew."""
    database = both_databases
    collection = add_collection(database, ENCODER)
    add_document(database, ENCODER, collection, "a", ["red fox"])
    with (
        IndexSet(database, tmp_path / "one", ENCODERS) as one,
        IndexSet(database, tmp_path / "other", ENCODERS) as other,
    ):
        tidy = Upkeep(database, BlobStore(str(tmp_path / "blobs")), one, Reindexing(database, ENCODERS, one))
        for name in "bcd":
            settled(other)
            before = other.get(collection).seq
            add_document(database, ENCODER, collection, name, [f"word {name}"])
            settled(one)
            tidy.round()
            assert other.catch_up_all() == 1, "only the new change"
            assert other.get(collection).seq == before + 1


@pytest.mark.parametrize("killed_after", range(4))
def test_a_kill_between_the_steps_loses_nothing(database: Database, tmp_path: Path, killed_after: int) -> None:
    collection = add_collection(database, ENCODER)
    first = add_document(database, ENCODER, collection, "a", ["red fox", "blue hen"])
    folder, left = tmp_path / "indexes", tmp_path / "left"
    with IndexSet(database, folder, ENCODERS) as indexes:
        settled(indexes)
        indexes.prune_changes()
        remove_document(database, first)
        add_document(database, ENCODER, collection, "b", ["green cow", "blue hen"])
        steps: list[Callable[[], object]] = [
            indexes.catch_up_all,
            indexes.prune_changes,
            lambda: embeddings.collect_garbage(database, limit=1),
            indexes.prune_changes,
        ]
        for step in steps[: killed_after + 1]:
            step()
        shutil.copytree(folder, left)  # as a kill leaves it: what was not saved is not there
    with IndexSet(database, left, ENCODERS) as again:
        again.catch_up_all()
        assert again.verify(collection).ok
        assert again.get(collection).vectors.count == 2


def test_vectors_stay_while_documents_wait(database: Database, tmp_path: Path) -> None:
    collection = add_collection(database, ENCODER)
    document = add_document(database, ENCODER, collection, "a", ["red fox"])
    with IndexSet(database, tmp_path / "indexes", ENCODERS) as indexes:
        remove_document(database, document)
        with database.transaction() as session:
            waiting = DocumentRow(collection_id=collection, name="b", size=1, state=DocumentState.ENCODING)
            session.add(waiting)
        tidy = Upkeep(database, BlobStore(str(tmp_path / "blobs")), indexes, Reindexing(database, ENCODERS, indexes))
        assert tidy.round().vectors == 0
        with database.transaction() as session:
            session.execute(sa.update(DocumentRow).values(state=DocumentState.READY))
        assert tidy.round().vectors == 1


def test_no_passage_is_stored_without_its_vector(
    tmp_path: Path, both_urls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round in another process may come between the encoding and the commit of a document."""
    encode = Ingestion._encode
    collected: list[int] = []

    def encode_then_collect(self: Ingestion, *arguments: object) -> None:
        encode(self, *arguments)  # type: ignore[arg-type]
        if not collected:
            collected.append(embeddings.collect_garbage(self._database))

    monkeypatch.setattr(Ingestion, "_encode", encode_then_collect)
    with open_stack(tmp_path / "home", database={"url": both_urls}) as runtime:
        me = admin(runtime)
        job = ingest(runtime, me, "docs", {"guide.md": b"# Guide\n\nThe lamp lasts 900 hours.\n"})
        assert collected == [1]
        assert job.state == JobState.SUCCEEDED
        assert runtime.library.documents(me, "docs")[0].state == DocumentState.READY
        report = runtime.indexes.verify(runtime.library.collection(me, "docs").id)
        assert report.ok
        assert report.vectors.missing == 0
        assert runtime.indexes.get(report.collection_id).vectors.count == 1


def test_the_rounds_begin_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that nobody looks after tidies up; a round that fails is not the last one."""
    done: list[int] = []
    monkeypatch.setattr(upkeep, "_FIRST_AFTER_S", 0.01)
    monkeypatch.setattr(upkeep, "_EVERY_S", 0.01)
    collect = embeddings.collect_garbage

    def failing_once(database: Database, *, limit: int) -> int:
        done.append(limit)
        if len(done) == 1:
            raise OSError(28, "No space left on device")
        return collect(database, limit=limit)

    monkeypatch.setattr(embeddings, "collect_garbage", failing_once)
    with open_stack(tmp_path / "home") as runtime:
        me = admin(runtime)
        ingest(runtime, me, "docs", {"guide.md": b"The lamp lasts 900 hours."})
        runtime.library.delete_document(me, runtime.library.documents(me, "docs")[0].id)
        for _ in range(600):
            if len(done) > 2 and not rows(runtime.database, EmbeddingRow):
                break
            runtime.indexes.catch_up_all()
        else:
            raise AssertionError("no round came")

"""The index of a collection follows the database, whatever happens to either."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChangeRow, ChunkRow, EmbeddingRow
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.indexes import collection as collection_module
from keepstone.retrieval.indexes.bm25 import Bm25Index
from keepstone.retrieval.indexes.collection import CollectionIndex
from keepstone.retrieval.indexes.hnsw import HnswIndex
from tests.retrieval.corpus import add_collection, add_document, chunk_ids, remove_document

_ENCODER = HashEncoder(16)


@pytest.fixture
def collection_id(both_databases: Database) -> str:
    return add_collection(both_databases, _ENCODER)


@pytest.fixture
def open_index(tmp_path: Path, collection_id: str) -> Callable[[], CollectionIndex]:
    """Open the collection's index again and again; what was not saved is lost, as after a kill."""
    opened: list[CollectionIndex] = []

    def make() -> CollectionIndex:
        for each in opened:
            each.close()
        index = _open(tmp_path / "index", collection_id)
        opened.append(index)
        return index

    return make


def _open(folder: Path, collection_id: str) -> CollectionIndex:
    """Open the embedded index whose files are in this folder."""
    vectors = HnswIndex(folder, dimension=_ENCODER.dimension, encoder=_ENCODER.version)
    words = Bm25Index(folder / "words")
    return CollectionIndex(
        collection_id, vectors, words, encoder_version=_ENCODER.version, dimension=_ENCODER.dimension
    )


def _assert_equal(index: CollectionIndex, database: Database) -> None:
    expected = chunk_ids(database, index.collection_id)
    assert index.vectors.ids().tolist() == expected
    assert index.words.ids().tolist() == expected


def test_follows_additions_and_removals(
    both_databases: Database, collection_id: str, open_index: Callable[[], CollectionIndex]
) -> None:
    database, index = both_databases, open_index()
    first = add_document(database, _ENCODER, collection_id, "a", ["red fox", "red hen"])
    add_document(database, _ENCODER, collection_id, "b", ["blue cow"], context="Animals")
    assert index.catch_up(database) == 3
    _assert_equal(index, database)
    assert len(index.words.search(["anim"], 10)) == 1
    remove_document(database, first)
    add_document(database, _ENCODER, collection_id, "c", ["green pig"])
    assert index.catch_up(database) == 3
    assert index.catch_up(database) == 0
    _assert_equal(index, database)
    assert index.verify(database).ok


def test_looks_at_its_own_collection_only(
    both_databases: Database, collection_id: str, open_index: Callable[[], CollectionIndex]
) -> None:
    other = add_collection(both_databases, _ENCODER, "other")
    add_document(both_databases, _ENCODER, other, "secret", ["red fox"])
    index = open_index()
    add_document(both_databases, _ENCODER, collection_id, "mine", ["red fox"])
    index.catch_up(both_databases)
    _assert_equal(index, both_databases)
    assert index.vectors.count == 1


def test_many_changes_come_in_batches(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection_module, "_BATCH", 7)
    collection_id = add_collection(database, _ENCODER)
    documents = [
        add_document(database, _ENCODER, collection_id, str(n), [f"w{n} x{m}" for m in range(5)]) for n in range(9)
    ]
    index = _open(tmp_path, collection_id)
    index.catch_up(database)
    for each in documents[::2]:
        remove_document(database, each)
    add_document(database, _ENCODER, collection_id, "last", ["one", "two"])
    index.catch_up(database)
    _assert_equal(index, database)
    index.rebuild(database)
    _assert_equal(index, database)


def test_a_kill_loses_nothing(
    both_databases: Database, collection_id: str, open_index: Callable[[], CollectionIndex]
) -> None:
    """Words are durable at once, vectors at the next save; each half catches up from where it is."""
    database, index = both_databases, open_index()
    first = add_document(database, _ENCODER, collection_id, "a", ["red fox", "red hen"])
    index.catch_up(database)
    index.save()
    remove_document(database, first)
    add_document(database, _ENCODER, collection_id, "b", ["blue cow"])
    index.catch_up(database)
    again = open_index()
    assert again.vectors.position.seq < again.words.position.seq
    again.catch_up(database)
    _assert_equal(again, database)
    assert again.verify(database).ok


@pytest.mark.parametrize("lost", ["*", "words", "vectors.json"])
def test_a_lost_or_damaged_half_is_built_anew(database: Database, tmp_path: Path, lost: str) -> None:
    collection_id = add_collection(database, _ENCODER)
    gone = add_document(database, _ENCODER, collection_id, "a", ["red fox", "red hen"])
    add_document(database, _ENCODER, collection_id, "b", ["blue cow"])

    def opened() -> CollectionIndex:
        return _open(tmp_path / "i", collection_id)

    index = opened()
    index.catch_up(database)
    index.save()
    index.close()
    remove_document(database, gone)
    for path in (tmp_path / "i").glob(lost):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = opened()
    again.catch_up(database)
    _assert_equal(again, database)


def test_an_index_ahead_of_a_database_that_was_put_back_is_built_anew(
    both_databases: Database, collection_id: str, open_index: Callable[[], CollectionIndex]
) -> None:
    database, index = both_databases, open_index()
    add_document(database, _ENCODER, collection_id, "a", ["red fox"])
    later = add_document(database, _ENCODER, collection_id, "b", ["blue cow", "green pig"])
    index.catch_up(database)
    with database.transaction() as session:  # as if the second document had never been
        ids = sa.select(ChunkRow.id).where(ChunkRow.document_id == later).scalar_subquery()
        session.execute(sa.delete(ChangeRow).where(ChangeRow.chunk_id.in_(ids)))
        session.execute(sa.delete(ChunkRow).where(ChunkRow.document_id == later))
    index.catch_up(database)
    _assert_equal(index, database)
    assert index.verify(database).ok


def test_the_same_number_with_another_content_is_noticed(database: Database, tmp_path: Path) -> None:
    """A database put back and filled again may have the same numbers for other chunks."""
    collection_id = add_collection(database, _ENCODER)
    add_document(database, _ENCODER, collection_id, "a", ["red fox"])
    index = _open(tmp_path, collection_id)
    index.catch_up(database)
    add_document(database, _ENCODER, collection_id, "b", ["blue cow"])
    with database.transaction() as session:
        text_hash = session.scalar(sa.select(ChunkRow.indexed_sha256).where(ChunkRow.text == "blue cow"))
        session.execute(
            sa.update(ChunkRow).where(ChunkRow.text == "red fox").values(text="red cow", indexed_sha256=text_hash)
        )
    index.catch_up(database)
    assert len(index.words.search(["cow"], 10)) == 2
    assert index.verify(database).ok


def test_an_index_behind_what_was_pruned_is_built_anew(
    both_databases: Database, collection_id: str, open_index: Callable[[], CollectionIndex]
) -> None:
    database, index = both_databases, open_index()
    index.catch_up(database)
    empty = index.seq
    for name in "abc":
        add_document(database, _ENCODER, collection_id, name, [f"word {name}"])
    with database.transaction() as session:
        newest = session.scalar(sa.select(sa.func.max(ChangeRow.seq)))
        session.execute(sa.delete(ChangeRow).where(ChangeRow.seq < newest))
    assert empty == 0
    index.catch_up(database)
    _assert_equal(index, database)


def test_vectors_of_another_encoder_are_left_out(database: Database, tmp_path: Path) -> None:
    """While a collection is being encoded anew, its old chunks are found by words alone."""
    collection_id = add_collection(database, _ENCODER)
    add_document(database, HashEncoder(8), collection_id, "old", ["red fox"])
    add_document(database, _ENCODER, collection_id, "new", ["red hen"])
    index = _open(tmp_path, collection_id)
    index.catch_up(database)
    assert (index.vectors.count, index.words.count) == (1, 2)
    assert index.verify(database).ok


def test_verify_names_what_differs(database: Database, tmp_path: Path) -> None:
    collection_id = add_collection(database, _ENCODER)
    add_document(database, _ENCODER, collection_id, "a", ["red fox", "blue hen", "green cow"])
    index = _open(tmp_path, collection_id)
    index.catch_up(database)
    [first, second, third] = chunk_ids(database, collection_id)
    index.vectors.apply([first], {}, index.vectors.position)
    index.words.apply([second], {999: ["x"]}, index.words.position)
    with database.transaction() as session:
        text_hash = session.scalar(sa.select(ChunkRow.indexed_sha256).where(ChunkRow.id == third))
        other = HashEncoder(16).encode_query("something else").tobytes()
        session.execute(sa.update(EmbeddingRow).where(EmbeddingRow.text_sha256 == text_hash).values(vector=other))
    report = index.verify(database)
    assert not report.ok
    assert (report.chunks, report.vectors.some_missing, report.vectors.extra) == (3, (first,), 0)
    assert (report.words.some_missing, report.words.some_extra) == ((second,), (999,))
    assert report.wrong_vectors == (third,)


@pytest.mark.parametrize("vector", [b"", b"\x00" * 60, b"\xff" * 64])
def test_an_unusable_vector_does_not_stop_the_others(database: Database, tmp_path: Path, vector: bytes) -> None:
    collection_id = add_collection(database, _ENCODER)
    add_document(database, _ENCODER, collection_id, "a", ["red fox", "blue hen"])
    with database.transaction() as session:
        text_hash = session.scalar(sa.select(ChunkRow.indexed_sha256).where(ChunkRow.text == "red fox"))
        session.execute(sa.update(EmbeddingRow).where(EmbeddingRow.text_sha256 == text_hash).values(vector=vector))
    index = _open(tmp_path, collection_id)
    index.catch_up(database)
    assert (index.vectors.count, index.words.count) == (1, 2)
    assert index.verify(database).vectors.missing == 1


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_events_ends_equal(database: Database, tmp_path: Path, seed: int) -> None:
    """Additions, removals, catching up, saving, kills and losses of files in any order."""
    chance = random.Random(seed)
    collection_id = add_collection(database, _ENCODER)
    documents: list[str] = []

    def opened() -> CollectionIndex:
        return _open(tmp_path / "i", collection_id)

    index = opened()
    for turn in range(40):
        event = chance.choice(["add", "add", "remove", "catch up", "catch up", "save", "kill", "lose"])
        if event == "add":
            texts = [f"word{chance.randrange(50)} {turn}" for _ in range(chance.randrange(4))]
            documents.append(add_document(database, _ENCODER, collection_id, str(turn), texts))
        elif event == "remove" and documents:
            remove_document(database, documents.pop(chance.randrange(len(documents))))
        elif event == "catch up":
            index.catch_up(database)
        elif event == "save":
            index.save()
        elif event in ("kill", "lose"):
            index.close()
            if event == "lose":
                path = chance.choice([tmp_path / "i" / "words", tmp_path / "i" / "vectors.json"])
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            index = opened()
    index.catch_up(database)
    _assert_equal(index, database)
    assert index.verify(database).ok


def test_searches_run_while_it_catches_up(database: Database, tmp_path: Path) -> None:
    collection_id = add_collection(database, _ENCODER)
    add_document(database, _ENCODER, collection_id, "stays", ["red fox"] * 20)
    index = _open(tmp_path, collection_id)
    index.catch_up(database)
    question = _ENCODER.encode_query("red fox")
    failures: list[BaseException] = []
    done = threading.Event()

    def search() -> None:
        try:
            while not done.is_set():
                assert len(index.vectors.search(question, 10)) == 10
                assert len(index.words.search(["fox"], 10)) == 10
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(5):
        name = add_document(database, _ENCODER, collection_id, str(turn), [f"blue fox {n}" for n in range(40)])
        index.catch_up(database)
        remove_document(database, name)
        index.catch_up(database)
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    _assert_equal(index, database)

"""All indexes of a process: one owner, a thread that keeps them up, and nothing left of what was deleted."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChangeRow, ChunkRow, CollectionRow, DocumentRow
from keepstone.platform.errors import Conflict
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes import IndexSet
from tests.retrieval.corpus import add_collection, add_document, chunk_ids, remove_document

_ENCODER = HashEncoder(16)
_ENCODERS = Encoders(_ENCODER)


@pytest.fixture
def indexes(database: Database, tmp_path: Path) -> Iterator[IndexSet]:
    with IndexSet(database, tmp_path / "indexes", _ENCODERS, poll_s=0.05) as opened:
        yield opened


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


def _delete_collection(database: Database, collection_id: str) -> None:
    with database.transaction() as session:
        for table in (ChunkRow, DocumentRow, ChangeRow):
            session.execute(sa.delete(table).where(table.collection_id == collection_id))
        session.execute(sa.delete(CollectionRow).where(CollectionRow.id == collection_id))


def test_the_thread_follows_the_database(database: Database, indexes: IndexSet) -> None:
    indexes.start()
    collection_id = add_collection(database, _ENCODER)
    document = add_document(database, _ENCODER, collection_id, "a", ["red fox", "blue hen"])
    indexes.notify(collection_id)
    _until(lambda: indexes.get(collection_id).words.count == 2)
    remove_document(database, document)
    _until(lambda: indexes.get(collection_id).words.count == 0)
    assert indexes.verify(collection_id).ok


def test_the_thread_survives_an_error(database: Database, indexes: IndexSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away for a while, or a full disk, must not stop the indexes for good."""
    failed = threading.Event()
    catch_up = indexes.catch_up

    def fail_once(collection_id: str) -> int:
        if not failed.is_set():
            failed.set()
            raise OSError(28, "No space left on device")
        return catch_up(collection_id)

    monkeypatch.setattr(indexes, "catch_up", fail_once)
    collection_id = add_collection(database, _ENCODER)
    add_document(database, _ENCODER, collection_id, "a", ["red fox"])
    indexes.start()
    _until(lambda: indexes.get(collection_id).words.count == 1)
    assert failed.is_set()


def test_closing_saves_and_opening_needs_no_catching_up(database: Database, tmp_path: Path) -> None:
    collection_id = add_collection(database, _ENCODER)
    add_document(database, _ENCODER, collection_id, "a", ["red fox", "blue hen"])
    for expected in (2, 0):
        with IndexSet(database, tmp_path / "indexes", _ENCODERS) as indexes:
            assert indexes.catch_up_all() == expected
            assert indexes.get(collection_id).vectors.ids().tolist() == chunk_ids(database, collection_id)
            assert indexes.memory()[collection_id] > 0


def test_a_deleted_collection_leaves_nothing_behind(database: Database, indexes: IndexSet, tmp_path: Path) -> None:
    collection_id, other = add_collection(database, _ENCODER), add_collection(database, _ENCODER, "other")
    for each in (collection_id, other):
        add_document(database, _ENCODER, each, "a", ["red fox"])
    indexes.catch_up_all()
    old = indexes.get(collection_id)
    _delete_collection(database, collection_id)
    indexes.catch_up_all()
    assert {path.name for path in (tmp_path / "indexes").iterdir() if path.is_dir()} == {other}
    assert list(indexes.memory()) == [other]
    assert len(old.vectors.search(_ENCODER.encode_query("red fox"), 10)) == 0


def test_another_encoder_gets_indexes_of_its_own(database: Database, tmp_path: Path) -> None:
    collection_id = add_collection(database, _ENCODER)
    add_document(database, _ENCODER, collection_id, "a", ["red fox"])
    with IndexSet(database, tmp_path / "indexes", _ENCODERS) as indexes:
        indexes.catch_up_all()
    larger = HashEncoder(32)
    add_document(database, larger, collection_id, "b", ["red hen"])
    with database.transaction() as session:
        session.get_one(CollectionRow, collection_id).encoder = larger.version
    with IndexSet(database, tmp_path / "indexes", Encoders(larger)) as indexes:
        indexes.catch_up_all()
        assert len(indexes.get(collection_id).vectors.search(larger.encode_query("red hen"), 10)) == 1
        assert len(list((tmp_path / "indexes" / collection_id).iterdir())) == 1


def test_a_second_process_is_told_who_has_the_folder(indexes: IndexSet, tmp_path: Path, sqlite_url: str) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from keepstone.platform.database import Database\n"
        "from keepstone.platform.errors import Conflict\n"
        "from keepstone.retrieval.encoder import HashEncoder\n"
        "from keepstone.retrieval.encoders import Encoders\n"
        "from keepstone.retrieval.indexes import IndexSet\n"
        "try: IndexSet(Database(sys.argv[1]), Path(sys.argv[2]), Encoders(HashEncoder(16)))\n"
        "except Conflict as error: print(error)\n"
    )
    arguments = [sys.executable, "-c", code, sqlite_url, str(tmp_path / "indexes")]
    environment = {"PYTHONPATH": ":".join(each for each in sys.path if each)}
    told = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"process {__import__('os').getpid()}" in told
    with pytest.raises(Conflict):
        IndexSet(indexes._database, tmp_path / "indexes", _ENCODERS)


def test_pruning_keeps_what_an_index_may_need(database: Database, indexes: IndexSet, tmp_path: Path) -> None:
    collection_id = add_collection(database, _ENCODER)
    for name in "abc":
        add_document(database, _ENCODER, collection_id, name, [f"word {name}"])
    indexes.catch_up_all()
    assert indexes.prune_changes() == 0  # not saved yet
    indexes.save()
    assert indexes.prune_changes() == 0  # other processes may not be as far
    assert indexes.prune_changes() == 2
    assert indexes.catch_up_all() == 0
    indexes.close()
    for path in (tmp_path / "indexes" / collection_id).rglob("vectors.json"):
        path.unlink()
    with IndexSet(database, tmp_path / "indexes", _ENCODERS) as again:
        again.catch_up_all()
        assert again.verify(collection_id).ok
        assert again.get(collection_id).vectors.count == 3


def test_many_threads_open_an_index_once(database: Database, indexes: IndexSet) -> None:
    collection_id = add_collection(database, _ENCODER)
    add_document(database, _ENCODER, collection_id, "a", ["red fox"] * 30)
    found = []
    threads = [
        threading.Thread(target=lambda: (indexes.catch_up(collection_id), found.append(indexes.get(collection_id))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in found}) == 1
    assert found[0].words.count == 30


@pytest.mark.parametrize("collection_id", ["../x", "a/b", "", "."])
def test_an_id_never_leads_out_of_the_folder(indexes: IndexSet, collection_id: str) -> None:
    with pytest.raises(ValueError, match="not a collection id"):
        indexes.get(collection_id)

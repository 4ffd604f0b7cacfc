"""What the indexes in PostgreSQL do besides the contract: processes that share them, recall, errors."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from keepstone.platform.database import Database
from keepstone.platform.errors import InvalidInput, SettingsError, Unavailable
from keepstone.platform.settings import IndexSettings, load_settings
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes import IndexSet, pgvector
from keepstone.retrieval.indexes.backends import IndexKey, open_store
from keepstone.retrieval.indexes.base import UNBUILT, Position
from keepstone.retrieval.indexes.bm25 import Bm25Index
from keepstone.retrieval.indexes.collection import CollectionIndex
from keepstone.retrieval.indexes.postgres_backend import PostgresBackend
from tests.retrieval.corpus import add_collection, add_document, chunk_ids, remove_document

_ENCODER = HashEncoder(16)
_IN_POSTGRES = IndexSettings(vectors="pgvector", words="postgres")
_KEY = IndexKey.of("col", "hash-16@1")

pytestmark = pytest.mark.postgres


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    opened = Database(postgres_url)
    opened.upgrade()
    yield opened
    opened.close()


def _open(database: Database, collection_id: str) -> CollectionIndex:
    """Open the index as a process of its own does: nothing is shared but the server."""
    store = open_store(_IN_POSTGRES, database, Path("unused"))
    return store.open(collection_id, _ENCODER.version, _ENCODER.dimension)


def _assert_equal(index: CollectionIndex, database: Database) -> None:
    expected = chunk_ids(database, index.collection_id)
    assert index.vectors.ids().tolist() == index.words.ids().tolist() == expected
    assert index.vectors.count == index.words.count == len(expected)


def _tables(database: Database) -> set[str]:
    return {name for name in sa.inspect(database.engine).get_table_names() if name.startswith("derived_")}


def test_two_processes_may_follow_at_once(database: Database, postgres_url: str) -> None:
    """Each change is applied, none twice, and neither finds the other's half-built index."""
    collection_id = add_collection(database, _ENCODER)
    chance = random.Random(4)
    documents = [add_document(database, _ENCODER, collection_id, str(n), [f"red {n}"] * 3) for n in range(10)]
    databases = [Database(postgres_url) for _ in range(2)]
    failures: list[BaseException] = []
    done = threading.Event()

    def follow(mine: Database) -> None:
        try:
            index = _open(mine, collection_id)
            while not done.is_set():
                index.catch_up(mine)
                if chance.random() < 0.1:
                    index.rebuild(mine)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=follow, args=(each,)) for each in databases]
    for thread in threads:
        thread.start()
    for number in range(10):
        add_document(database, _ENCODER, collection_id, f"new {number}", [f"blue {number}"] * 2)
        remove_document(database, documents.pop(chance.randrange(len(documents))))
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    index = _open(database, collection_id)
    assert index.verify(database).ok
    _assert_equal(index, database)
    for each in databases:
        each.close()


def test_what_one_process_drops_the_other_builds_anew(database: Database) -> None:
    collection_id = add_collection(database, _ENCODER)
    add_document(database, _ENCODER, collection_id, "a", ["red fox", "blue hen"])
    first, second = _open(database, collection_id), _open(database, collection_id)
    first.catch_up(database)
    assert second.seq == first.seq > 0
    PostgresBackend(database).drop(IndexKey.of(collection_id, _ENCODER.version))
    assert (first.seq, first.vectors.count) == (-1, 0)
    assert len(first.vectors.search(_ENCODER.encode_query("red fox"), 10)) == 0
    assert len(first.words.search(["fox"], 10)) == 0
    second.catch_up(database)
    _assert_equal(first, database)


def test_tables_that_were_deleted_come_back(database: Database) -> None:
    """They are derived: a person may drop them, one or all."""
    collection_id = add_collection(database, _ENCODER)
    add_document(database, _ENCODER, collection_id, "a", ["red fox", "blue hen"])
    index = _open(database, collection_id)
    index.catch_up(database)
    for name in sorted(_tables(database)):
        with database.engine.begin() as connection:
            connection.exec_driver_sql(f'DROP TABLE "{name}"')
        index.rebuild(database)
        _assert_equal(index, database)


def test_a_deleted_collection_leaves_no_tables(database: Database, tmp_path: Path) -> None:
    kept, gone = add_collection(database, _ENCODER), add_collection(database, _ENCODER, "gone")
    for each in (kept, gone):
        add_document(database, _ENCODER, each, "a", ["red fox"])
    with IndexSet(database, tmp_path, Encoders(_ENCODER), settings=_IN_POSTGRES) as indexes:
        indexes.catch_up_all()
        assert len(_tables(database)) == 7
    with database.transaction() as session:
        session.execute(sa.text("DELETE FROM documents WHERE collection_id = :id"), {"id": gone})
        session.execute(sa.text("DELETE FROM collections WHERE id = :id"), {"id": gone})
    with IndexSet(database, tmp_path, Encoders(_ENCODER), settings=_IN_POSTGRES) as indexes:
        indexes.catch_up_all()
        assert len(_tables(database)) == 4
        assert indexes.verify(kept).ok


def test_a_change_is_applied_whole_or_not_at_all(postgres_backend: PostgresBackend) -> None:
    vectors, words = postgres_backend.vectors(_KEY, "hash-16@1", 16), postgres_backend.words(_KEY)
    unit = np.eye(16, dtype=np.float32)
    vectors.apply([], {1: unit[0]}, Position(1))
    words.apply([], {1: ["fox"]}, Position(1))
    with pytest.raises(InvalidInput):
        vectors.apply([1], {2: unit[1], 3: unit[2][:5]}, Position(2))
    with pytest.raises(InvalidInput):
        words.apply([1], {2: ["fox"], 2**70: ["fox"]}, Position(2))
    for half in (vectors, words):
        assert half.position == Position(1)
        assert half.ids().tolist() == [1]


def test_what_another_version_made_counts_as_none(postgres_backend: PostgresBackend) -> None:
    unit = np.eye(17, dtype=np.float32)
    postgres_backend.vectors(_KEY, "hash-16@1", 16).apply([], {1: unit[0][:16]}, Position(1))
    other = postgres_backend.vectors(_KEY, "hash-16@1", 17)
    assert other.position == UNBUILT
    other.apply([], {2: unit[0]}, Position(1))
    assert other.ids().tolist() == [2]


def test_filters_find_what_is_there_at_every_selectivity(
    postgres_backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk that stops after the first candidates would find nothing among few allowed ones."""
    monkeypatch.setattr(pgvector, "_SCAN_ALLOWED", 0)
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(4000, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = postgres_backend.vectors(_KEY, "hash-16@1", 16)
    index.apply([], dict(enumerate(rows)), Position(1))
    for share in (0.005, 0.05, 0.5):
        allowed = chance.choice(4000, int(4000 * share), replace=False).tolist()
        found = 0
        for question in rows[:20]:
            walked = index.search(question, 10, allowed=allowed).ids
            assert set(walked.tolist()) <= set(allowed)
            found += len(np.intersect1d(walked, index.search(question, 10, allowed=allowed, exact=True).ids))
        assert found >= 195


def test_the_graph_is_used(database: Database, postgres_backend: PostgresBackend) -> None:
    """Without it every search would read every vector, and all tests would pass."""
    rows = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    index = postgres_backend.vectors(_KEY, "hash-16@1", 16)
    index.apply([], dict(enumerate(rows)), UNBUILT)
    index.apply([], {}, Position(1))
    for allowed in (None, list(range(pgvector._SCAN_ALLOWED + 1))):
        index.search(rows[0], 10, allowed=allowed)
    postgres_backend._database.close()  # a connection counts its scans when it ends
    scans = "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE right(indexrelname, 5) = 'graph'"
    for _ in range(100):
        with database.engine.connect() as connection:
            if connection.exec_driver_sql(scans).scalar() == 2:
                return
        time.sleep(0.05)
    raise AssertionError("a search did not use the graph")


def test_scores_of_words_are_those_of_tantivy(postgres_backend: PostgresBackend, tmp_path: Path) -> None:
    """A collection that moves to PostgreSQL is found in as before."""
    chance = random.Random(1)
    chunks = {n: chance.choices("abcdefghij", weights=range(1, 11), k=chance.randint(1, 39)) for n in range(3000)}
    words, tantivy = postgres_backend.words(_KEY), Bm25Index(tmp_path / "words")
    for index in (words, tantivy):
        index.apply([], chunks, Position(1))
    for question in (["a"], ["b", "j"], list("abc"), list("hij")):
        ours, theirs = words.search(question, 3000), tantivy.search(question, 3000)
        assert len(ours) == len(theirs)
        # tantivy counts its record of the position as one more chunk.
        expected = dict(zip(theirs.ids.tolist(), theirs.scores.tolist(), strict=True))
        assert ours.scores.tolist() == pytest.approx([expected[each] for each in ours.ids.tolist()], rel=5e-3)


def test_settings_that_cannot_work_name_what_mends_them(database: Database, sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"indexes.vectors is 'pgvector' but database.url names no PostgreSQL"):
        load_settings(home=tmp_path, indexes={"vectors": "pgvector"})
    with pytest.raises(SettingsError, match=r"indexes.words is 'postgres'"):
        load_settings(home=tmp_path, indexes={"words": "postgres"}, database={"url": sqlite_url})
    loaded = load_settings(
        home=tmp_path, indexes={"vectors": "pgvector"}, database={"url": database.engine.url.render_as_string()}
    )
    assert loaded.indexes.words == "tantivy"
    with pytest.raises(SettingsError, match="need the database there"):
        PostgresBackend(Database(sqlite_url))


def test_a_server_without_pgvector_is_named(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE guest LOGIN")
    guest = Database(database.engine.url.set(username="guest").render_as_string(hide_password=False))
    with pytest.raises(Unavailable, match="no pgvector") as raised:
        PostgresBackend(guest).vectors(_KEY, "hash-16@1", 16)
    assert "CREATE EXTENSION vector" in raised.value.fix
    guest.close()
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE guest")

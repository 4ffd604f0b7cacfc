"""Milvus as a backend: names, servers that go away or refuse, and search from end to end."""

from __future__ import annotations

import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.parts.milvus_lite import MilvusLite
from keepstone.platform.access import Scope
from keepstone.platform.database import Database
from keepstone.platform.errors import KeepstoneError, SettingsError, Unavailable
from keepstone.platform.settings import IndexSettings, SearchSettings, load_settings
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes import IndexSet
from keepstone.retrieval.indexes.backends import IndexKey
from keepstone.retrieval.indexes.base import UNBUILT, Position
from keepstone.retrieval.indexes.milvus import MilvusBackend, key_of, name_of
from keepstone.retrieval.indexes.milvus_server import MilvusServer
from keepstone.retrieval.search import Searcher
from tests.retrieval.corpus import add_collection, add_document, chunk_ids, remove_document

_ENCODER = HashEncoder(32)
_ENCODERS = Encoders(_ENCODER)
_KEY = IndexKey.of("col_1", "model@1")


def _settings(milvus: MilvusLite) -> IndexSettings:
    return IndexSettings(
        vectors="milvus", words="milvus", milvus_url=milvus.url, milvus_prefix=f"t{secrets.token_hex(6)}"
    )


@contextmanager
def _opened(database: Database, folder: Path, settings: IndexSettings) -> Iterator[IndexSet]:
    with IndexSet(database, folder, _ENCODERS, settings=settings) as indexes:
        yield indexes


def test_search_from_end_to_end(milvus: MilvusLite, database: Database, tmp_path: Path) -> None:
    """Two collections, of which a search finds the one that it may, and what is deleted is not found."""
    first, second = add_collection(database, _ENCODER), add_collection(database, _ENCODER, "others")
    chosen = _settings(milvus)
    with _opened(database, tmp_path / "indexes", chosen) as indexes:
        searcher = Searcher(database, _ENCODERS, indexes, SearchSettings())
        pump = add_document(database, _ENCODER, first, "a.md", ["The pump's filter is changed in May.", "Blue paint."])
        add_document(database, _ENCODER, second, "b.md", ["The filter of the lamp is changed in June."])
        assert indexes.catch_up_all() > 0
        assert [hit.document_name for hit in searcher.search(Scope((first,)), "changed filter").hits] == ["a.md"] * 2
        assert searcher.search(Scope((second,)), "changed filter").hits[0].document_name == "b.md"
        add_document(database, _ENCODER, first, "c.md", ["May is warm."])
        remove_document(database, pump)
        indexes.catch_up_all()
        assert [hit.document_name for hit in searcher.search(Scope((first,)), "filter May").hits] == ["c.md"]
        assert all(report.ok for report in indexes.verify_all())
    with _opened(database, tmp_path / "indexes", chosen) as indexes:
        assert indexes.catch_up_all() == 0
        assert indexes.get(first).words.ids().tolist() == chunk_ids(database, first)


def test_an_index_that_somebody_dropped_is_built_anew(milvus: MilvusLite, database: Database, tmp_path: Path) -> None:
    collection_id = add_collection(database, _ENCODER)
    add_document(database, _ENCODER, collection_id, "a.md", ["red fox", "grey hen"])
    chosen = _settings(milvus)
    with _opened(database, tmp_path / "indexes", chosen) as indexes:
        indexes.catch_up_all()
        server = MilvusServer(milvus.url)
        for name in server.call("list_collections"):
            if name.startswith(chosen.milvus_prefix):
                server.call("drop_collection", name)
        assert len(indexes.get(collection_id).words.search(["fox"], 3)) == 0
        assert len(indexes.get(collection_id).vectors.search(_ENCODER.encode_query("fox"), 3)) == 0
        indexes.catch_up_all()
        assert indexes.verify(collection_id).ok
        assert len(indexes.get(collection_id).words.search(["fox"], 3)) == 1


def test_a_server_that_goes_away_and_comes_back(database: Database, tmp_path: Path) -> None:
    """Searches say so while it is away, none hangs, and all work again without a restart of ours."""
    server = MilvusLite(tmp_path / "milvus")
    try:
        collection_id = add_collection(database, _ENCODER)
        add_document(database, _ENCODER, collection_id, "a.md", ["red fox", "grey hen"])
        with _opened(database, tmp_path / "indexes", _settings(server)) as indexes:
            indexes.catch_up_all()
            searcher = Searcher(database, _ENCODERS, indexes, SearchSettings())
            killed = threading.Event()

            def search() -> int:
                refused = 0
                while not refused or not killed.is_set():
                    try:
                        searcher.search(Scope((collection_id,)), "fox")
                    except Unavailable:
                        refused += 1
                return refused

            with ThreadPoolExecutor(3) as threads:
                searching = [threads.submit(search) for _ in range(3)]
                server.kill()
                killed.set()
                assert all(each.result() for each in searching)
            add_document(database, _ENCODER, collection_id, "b.md", ["a fox again"])
            with pytest.raises(Unavailable, match="does not answer"):
                indexes.catch_up(collection_id)
            server.start()
            _until_it_works(lambda: indexes.catch_up(collection_id))
            found = searcher.search(Scope((collection_id,)), "fox").hits
            assert {hit.document_name for hit in found} == {"a.md", "b.md"}
            assert indexes.verify(collection_id).ok
    finally:
        server.kill()


def test_an_index_that_was_made_in_part_is_dropped(milvus: MilvusLite, database: Database) -> None:
    """Making a collection and its index are two calls; a kill between them must not leave it unusable for ever."""
    from pymilvus import DataType, MilvusClient

    backend = _backend(milvus, database)
    server = MilvusServer(milvus.url)
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
    server.call("create_collection", backend._name(_KEY, "vectors"), schema=schema)
    half = backend.vectors(_KEY, "model@1", 16)
    assert (half.position, half.count) == (UNBUILT, 0)
    half.apply([], {1: _ENCODER.encode_query("fox")[:16]}, Position(1))
    assert half.count == 1


def test_only_what_belongs_to_the_prefix_is_kept_and_dropped(milvus: MilvusLite, database: Database) -> None:
    """Two installations may share a server; neither may drop what is the other's."""
    mine, other = _backend(milvus, database), _backend(milvus, database)
    for backend in (mine, other):
        backend.words(_KEY).apply([], {1: ["fox"]}, Position(1))
    half = mine.words(_KEY)
    assert mine.kept() == other.kept() == {_KEY}
    mine.drop(_KEY)
    mine.drop(_KEY)
    assert (mine.kept(), other.kept()) == (set(), {_KEY})
    assert len(half.search(["fox"], 3)) == 0
    assert half.position == UNBUILT


@given(st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True), st.text(max_size=60))
def test_every_name_is_valid_and_gives_its_key_again(collection_id: str, version: str) -> None:
    key = IndexKey.of(collection_id, version)
    name = name_of("keepstone", key, "words")
    assert len(name) <= 255
    assert name.isascii()
    assert name.replace("_", "").isalnum()
    assert (key_of("keepstone", name), key_of("keep", name)) == (key, None)


@pytest.mark.postgres
def test_processes_that_share_an_index_see_what_each_other_did(
    milvus: MilvusLite, postgres_url: str, tmp_path: Path
) -> None:
    """Positions are remembered in each process; whoever changes an index looks at the true one first."""
    database = Database(postgres_url)
    database.upgrade()
    collection_id = add_collection(database, _ENCODER)
    gone = add_document(database, _ENCODER, collection_id, "a.md", ["red fox", "grey hen"])
    chosen = _settings(milvus)
    with (
        _opened(database, tmp_path / "one", chosen) as one,
        _opened(database, tmp_path / "two", chosen) as two,
    ):
        one.catch_up_all()
        assert two.catch_up_all() == 0
        add_document(database, _ENCODER, collection_id, "b.md", ["blue cow"])
        assert one.catch_up(collection_id) == 1
        remove_document(database, gone)
        assert two.catch_up(collection_id) == 2
        assert one.catch_up(collection_id) == 0
        one.get(collection_id).rebuild(database)
        assert two.catch_up(collection_id) == 0
        assert one.verify(collection_id).ok
        assert two.verify(collection_id).ok
    database.close()


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(SettingsError, match=r"keepstone\[milvus\]"):
        MilvusServer("http://127.0.0.1:1").call("list_collections")


def test_nobody_at_the_address() -> None:
    with pytest.raises(Unavailable, match="milvus_url"):
        MilvusServer("http://127.0.0.1:1", timeout_s=5).call("list_collections")


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("refuse", "milvus_token"),
        ("2.4.17", "2.5 or newer"),
        ("v2.4-rc", "2.5 or newer"),
        ("silent", "does not answer"),
    ],
)
def test_a_server_that_will_not_do(behaviour: str, expected: str) -> None:
    """A wrong token, an old release, and a proxy that takes a call and says nothing."""
    with _false_server(behaviour) as url, pytest.raises(KeepstoneError, match=expected) as caught:
        MilvusServer(url, token="ann:hunter2", timeout_s=1).call("list_collections")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["milvus.db", "http://ann:hunter2@127.0.0.1:19530", "ftp://x", "http://"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(SettingsError, match="no address") as caught:
        load_settings(indexes={"milvus_url": url})
    assert "hunter2" not in str(caught.value)


def _until_it_works(action: Callable[[], object]) -> None:
    """Do it again and again, as the thread of `IndexSet` does, while the connection is being made anew."""
    for _ in range(100):
        try:
            action()
        except Unavailable:
            time.sleep(0.1)
        else:
            return
    action()


def _backend(milvus: MilvusLite, database: Database) -> MilvusBackend:
    return MilvusBackend(MilvusServer(milvus.url), f"t{secrets.token_hex(6)}", database)


@contextmanager
def _false_server(behaviour: str) -> Iterator[str]:
    """Serve Milvus' protocol in one way that a client must bear."""
    import grpc
    from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

    ended = threading.Event()

    class Servicer(milvus_pb2_grpc.MilvusServiceServicer):
        def Connect(self, request: object, context: grpc.ServicerContext) -> object:  # noqa: N802
            if behaviour == "refuse":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")
            if behaviour == "silent":
                ended.wait(30)
            return milvus_pb2.ConnectResponse()

        def GetVersion(self, request: object, context: grpc.ServicerContext) -> object:  # noqa: N802
            return milvus_pb2.GetVersionResponse(version=behaviour)

    server = grpc.server(ThreadPoolExecutor(2))
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        ended.set()
        server.stop(None).wait()

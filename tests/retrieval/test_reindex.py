"""Another encoder for a collection: built beside, switched in one step, never half, and always with the way back."""

from __future__ import annotations

import random
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from keepstone.platform.access import Scope
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, EmbeddingRow, IndexState, IndexVersionRow
from keepstone.platform.errors import Cancelled, Conflict, InvalidInput, ModelMissing, NotFound
from keepstone.platform.settings import SearchSettings
from keepstone.retrieval import embeddings, reindex
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.indexes import IndexSet
from keepstone.retrieval.reindex import Reindexing
from keepstone.retrieval.search import Searcher
from tests.retrieval.corpus import add_collection, add_document, encoders_of, remove_document


class _Counting(HashEncoder):
    """Counts what it encodes, and can be made to fail or to talk nonsense."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self.encoded = 0
        self.before: Callable[[], None] = lambda: None
        self.damaged = False

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.before()
        self.encoded += len(texts)
        vectors = super().encode_documents(texts)
        return np.full_like(vectors, np.nan) if self.damaged else vectors


class House:
    """A database with one collection, its indexes, and three encoders."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.old, self.new, self.third = _Counting(16), _Counting(32), _Counting(24)
        self.encoders = encoders_of(self.old, self.new, self.third)
        self.collection = add_collection(database, self.old)
        self.scope = Scope((self.collection,))
        self.open()

    def open(self) -> None:
        """Begin as a process does at its start."""
        self.indexes = IndexSet(self.database, self.folder, self.encoders, poll_s=0.02)
        self.reindexing = Reindexing(self.database, self.encoders, self.indexes)
        self.searcher = Searcher(self.database, self.encoders, self.indexes, SearchSettings())
        self.indexes.catch_up_all()

    def die(self) -> None:
        """End as a killed process does, so that what was not saved is lost, and start again."""
        self.indexes.stop()
        for entry in self.indexes._open.values():
            entry.index.close()
        self.indexes._held.close()
        self.open()

    def tidy(self) -> None:
        """Do what the upkeep does."""
        self.indexes.prune_changes()
        embeddings.collect_garbage(self.database)
        self.reindexing.follow()

    def live(self) -> str:
        with self.database.reading() as session:
            return session.get_one(CollectionRow, self.collection).encoder

    def add(self, name: str, *texts: str) -> str:
        """Ingest a document under the encoder in use."""
        encoder = self.encoders.get(self.live())
        return add_document(self.database, encoder, self.collection, name, texts)

    def states(self) -> dict[str, str]:
        return {each.encoder: each.state for each in self.reindexing.versions(self.collection)}

    def vectors_of(self, encoder: HashEncoder) -> int:
        with self.database.reading() as session:
            query = sa.select(sa.func.count()).where(EmbeddingRow.encoder == encoder.version)
            return session.scalar(query) or 0

    def assert_whole(self, version: str | None = None) -> None:
        """The index holds exactly the passages of the database, each with its vector under this encoder."""
        report = self.indexes.verify(self.collection, version)
        assert report.ok
        assert self.indexes.get(self.collection, version).vectors.count == report.chunks


@pytest.fixture
def house(both_databases: Database, tmp_path: Path) -> Iterator[House]:
    made = House(both_databases, tmp_path / "indexes")
    made.add("a", "red fox", "blue hen")
    made.add("b", "green cow")
    made.indexes.catch_up_all()
    yield made
    made.indexes.close()


def test_searches_go_on_under_the_old_encoder_until_the_switch(house: House) -> None:
    house.reindexing.build(house.collection, house.new.version)
    assert house.states() == {house.old.version: "live", house.new.version: "ready"}
    result = house.searcher.search(house.scope, "red fox")
    assert result.encoders == {house.collection: house.old.version}
    house.reindexing.switch(house.collection, house.new.version)
    result = house.searcher.search(house.scope, "red fox")
    assert result.encoders == {house.collection: house.new.version}
    assert result.hits[0].text == "red fox"
    assert house.states() == {house.new.version: "live", house.old.version: "previous"}
    house.assert_whole()


def test_a_candidate_is_searched_by_its_version(house: House) -> None:
    """What is to be judged answers through the real search, while everybody else is served as before."""
    with pytest.raises(Conflict, match="no complete index"):
        house.searcher.search(house.scope, "red fox", encoder=house.new.version)
    house.reindexing.build(house.collection, house.new.version)
    result = house.searcher.search(house.scope, "red fox", encoder=house.new.version)
    assert result.encoders == {house.collection: house.new.version}
    assert result.hits[0].dense_score == pytest.approx(
        float(house.new.encode_query("red fox") @ house.new.encode_documents(["red fox"])[0]), abs=1e-3
    )
    own = house.searcher.search(house.scope, "red fox", encoder=house.old.version)
    assert own.hits == house.searcher.search(house.scope, "red fox").hits


def test_switching_back_encodes_nothing_and_forth_neither(house: House) -> None:
    house.reindexing.build(house.collection, house.new.version)
    for encoder in (house.new, house.old, house.new):
        before = house.old.encoded + house.new.encoded
        house.reindexing.switch(house.collection, encoder.version)
        assert house.old.encoded + house.new.encoded == before
        assert house.searcher.search(house.scope, "cow").encoders == {house.collection: encoder.version}
        embeddings.collect_garbage(house.database)
        house.assert_whole()


def test_the_next_promotion_gives_up_the_one_before_the_last(house: House, tmp_path: Path) -> None:
    for encoder in (house.new, house.third):
        house.reindexing.build(house.collection, encoder.version)
        house.reindexing.switch(house.collection, encoder.version)
    house.indexes.catch_up_all()
    assert house.states() == {house.third.version: "live", house.new.version: "previous"}
    embeddings.collect_garbage(house.database)
    assert (house.vectors_of(house.old), house.vectors_of(house.new), house.vectors_of(house.third)) == (0, 3, 3)
    assert len(list((tmp_path / "indexes" / house.collection).iterdir())) == 2
    with pytest.raises(Conflict, match="no complete index"):
        house.reindexing.switch(house.collection, house.old.version)


def test_what_changes_meanwhile_is_in_the_new_index(house: House) -> None:
    """While it is built, between build and switch, and between switch and the way back."""
    gone = house.add("gone", "brown dog")

    def change() -> None:
        house.new.before = lambda: None
        house.add("during", "white cat")
        remove_document(house.database, gone)

    house.new.before = change
    house.reindexing.build(house.collection, house.new.version)
    house.indexes.catch_up_all()
    house.assert_whole(house.new.version)
    house.add("after", "black bird")
    house.indexes.catch_up_all()
    house.reindexing.switch(house.collection, house.new.version)
    house.assert_whole()
    assert {hit.text for hit in house.searcher.search(house.scope, "animal").hits} == {
        "red fox",
        "blue hen",
        "green cow",
        "white cat",
        "black bird",
    }
    house.add("later", "grey wolf")
    house.indexes.catch_up_all()
    house.reindexing.switch(house.collection, house.old.version)
    house.assert_whole()
    assert house.searcher.search(house.scope, "wolf").hits[0].text == "grey wolf"


def test_what_is_kept_beside_is_followed_in_quiet_hours(house: House) -> None:
    house.reindexing.build(house.collection, house.new.version)
    house.add("later", "grey wolf")
    house.reindexing.follow()
    assert house.vectors_of(house.new) == 4
    house.encoders.get(house.new.version)
    before = house.new.encoded
    house.reindexing.follow()
    house.reindexing.switch(house.collection, house.new.version)
    assert house.new.encoded == before


def test_an_identical_passage_needs_no_vector_but_a_place_in_the_index(house: House) -> None:
    """Its vector is in the cache already, so nothing tells that the index has yet to learn it."""
    house.reindexing.build(house.collection, house.new.version)
    house.add("copy", "red fox")
    house.reindexing.switch(house.collection, house.new.version)
    assert house.indexes.get(house.collection).vectors.count == 4
    house.assert_whole()


def test_discarding_leaves_no_trace(house: House, tmp_path: Path) -> None:
    house.reindexing.build(house.collection, house.new.version)
    house.reindexing.discard(house.collection, house.new.version)
    house.reindexing.discard(house.collection, house.new.version)
    embeddings.collect_garbage(house.database)
    assert house.states() == {house.old.version: "live"}
    assert (house.vectors_of(house.old), house.vectors_of(house.new)) == (3, 0)
    assert len(list((tmp_path / "indexes" / house.collection).iterdir())) == 1
    with pytest.raises(Conflict, match="searched under"):
        house.reindexing.discard(house.collection, house.old.version)
    house.assert_whole()


def test_what_nobody_asks_for_is_given_up_in_time(house: House) -> None:
    """A candidate that was refused, or a build that was cancelled, holds no space for ever; the way back stays."""
    for encoder in (house.new, house.third):
        house.reindexing.build(house.collection, encoder.version)
    house.reindexing.switch(house.collection, house.new.version)
    house.reindexing.tidy()
    assert len(house.states()) == 3
    with house.database.transaction() as session:
        session.execute(sa.update(IndexVersionRow).values(created_at=datetime(2026, 1, 1, tzinfo=UTC)))
    house.reindexing.build(house.collection, house.third.version)
    house.reindexing.tidy()
    assert len(house.states()) == 3, "it was asked for again"
    with house.database.transaction() as session:
        session.execute(sa.update(IndexVersionRow).values(created_at=datetime(2026, 1, 1, tzinfo=UTC)))
    house.reindexing.tidy()
    assert house.states() == {house.new.version: "live", house.old.version: "previous"}


def test_discarding_ends_a_build(house: House) -> None:
    house.new.before = lambda: house.reindexing.discard(house.collection, house.new.version)
    with pytest.raises(Conflict, match="discarded"):
        house.reindexing.build(house.collection, house.new.version)
    assert house.states() == {house.old.version: "live"}


def test_garbage_spares_what_is_being_built(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindex, "_SLICE", 1)
    house.new.before = lambda: None if embeddings.collect_garbage(house.database) == 0 else pytest.fail("it was taken")
    house.reindexing.build(house.collection, house.new.version)
    assert (house.new.encoded, house.vectors_of(house.new)) == (3, 3)


def test_a_damaged_encoder_is_refused_and_the_live_one_untouched(house: House) -> None:
    house.new.damaged = True
    with pytest.raises(InvalidInput, match="damaged"):
        house.reindexing.build(house.collection, house.new.version)
    assert house.vectors_of(house.new) == 0
    with pytest.raises(Conflict):
        house.reindexing.switch(house.collection, house.new.version)
    assert house.live() == house.old.version
    house.assert_whole()


def test_an_encoder_that_is_not_there_is_named_with_the_fix(house: House) -> None:
    with pytest.raises(ModelMissing) as caught:
        house.reindexing.build(house.collection, "gone@1")
    assert "keepstone models" in str(caught.value.fix)
    assert house.states() == {house.old.version: "live"}


def test_a_kept_index_whose_encoder_is_gone_hinders_nobody(house: House) -> None:
    """Somebody may remove a model that is kept to go back to; the others are searched and kept up as before."""
    with house.database.transaction() as session:
        session.add(IndexVersionRow(collection_id=house.collection, encoder="gone@1", state=IndexState.PREVIOUS))
    house.add("c", "white cat")
    house.indexes.catch_up_all()
    house.indexes.prune_changes()
    house.reindexing.follow()
    assert house.searcher.search(house.scope, "cat").hits[0].text == "white cat"


def test_an_unknown_collection_is_not_found(house: House) -> None:
    for call in (house.reindexing.build, house.reindexing.switch):
        with pytest.raises(NotFound):
            call("col_gone", house.new.version)


def test_progress_counts_passages(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindex, "_SLICE", 2)
    reports: list[tuple[int, int]] = []
    house.reindexing.build(house.collection, house.new.version, report=lambda *done: reports.append(done))
    assert reports == [(0, 3), (2, 3), (3, 3)]


def test_a_build_that_was_stopped_goes_on_where_it_was(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindex, "_SLICE", 1)
    checks = iter(range(100))

    def stop() -> None:
        if next(checks) == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        house.reindexing.build(house.collection, house.new.version, check=stop)
    assert (house.new.encoded, house.states()[house.new.version]) == (2, "building")
    house.die()
    with pytest.raises(Conflict):
        house.indexes.get(house.collection, house.new.version)
    house.reindexing.build(house.collection, house.new.version)
    assert house.new.encoded == 3
    house.assert_whole(house.new.version)


class _Killed(BaseException):
    """The process died."""


def _dying(call: Callable[..., object]) -> Callable[..., None]:
    def do_and_die(*arguments: object) -> None:
        call(*arguments)
        raise _Killed

    return do_and_die


@pytest.mark.parametrize("step", ["complete", "save_one", "catch_up", *range(1, 10)])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_encoder(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int | str
) -> None:
    """Never half: after the next start the index that searches use is whole, and the work can be done to its end."""
    house = House(database, tmp_path / "indexes")
    house.add("a", "red fox", "blue hen", "green cow")
    house.indexes.catch_up_all()
    monkeypatch.setattr(reindex, "_SLICE", 1)
    seen = 0

    def die(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == step:  # just before this commit
            raise _Killed

    def change() -> None:
        house.reindexing.build(house.collection, house.new.version)
        house.add("later", "white cat")
        house.reindexing.switch(house.collection, house.new.version)

    if isinstance(step, str):
        monkeypatch.setattr(house.indexes, step, _dying(getattr(house.indexes, step)))
    sa.event.listen(database.engine, "commit", die)
    with pytest.raises(_Killed):
        change()
    sa.event.remove(database.engine, "commit", die)
    house.die()
    assert house.live() in (house.old.version, house.new.version)
    assert house.searcher.search(house.scope, "red fox").encoders == {house.collection: house.live()}
    house.assert_whole()
    house.reindexing.build(house.collection, house.new.version)
    house.reindexing.switch(house.collection, house.new.version)
    embeddings.collect_garbage(house.database)
    assert house.live() == house.new.version
    house.assert_whole()
    house.reindexing.switch(house.collection, house.old.version)
    house.assert_whole()
    house.indexes.close()


_BUILD = """
import sys, time
from pathlib import Path
from keepstone.platform.database import Database
from keepstone.retrieval import reindex
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.indexes import IndexSet
from tests.retrieval.corpus import encoders_of

class Slow(HashEncoder):
    def encode_documents(self, texts):
        time.sleep(0.2)
        return super().encode_documents(texts)

reindex._SLICE = 1
database, encoders = Database(sys.argv[1]), encoders_of(HashEncoder(16), Slow(32))
indexes = IndexSet(database, Path(sys.argv[2]), encoders)
report = lambda done, total: print(done, flush=True)
reindex.Reindexing(database, encoders, indexes).build(sys.argv[3], "hash-32", report=report)
"""


def test_a_build_outlives_a_killed_process(database: Database, sqlite_url: str, tmp_path: Path) -> None:
    house = House(database, tmp_path / "indexes")
    house.add("a", *(f"word {number}" for number in range(30)))
    house.indexes.close()
    command = [sys.executable, "-c", _BUILD, sqlite_url, str(tmp_path / "indexes"), house.collection]
    environment = {"PYTHONPATH": ":".join(each for each in sys.path if each)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "3\n":
            assert process.poll() is None
        process.kill()
    house.open()
    assert house.states() == {house.old.version: "live", house.new.version: "building"}
    house.assert_whole()
    house.reindexing.build(house.collection, house.new.version)
    assert 0 < house.new.encoded <= 27
    house.reindexing.switch(house.collection, house.new.version)
    house.assert_whole()
    house.indexes.close()


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_events_ends_whole(database: Database, tmp_path: Path, seed: int) -> None:
    """Building, switching, discarding, ingesting, deleting, tidying, saving and kills, in any order."""
    chance = random.Random(seed)
    house = House(database, tmp_path / "indexes")
    documents: list[str] = []

    def add(_version: str) -> None:
        texts = [f"word{chance.randrange(20)}" for _ in range(chance.randrange(4))]
        documents.append(house.add(secrets.token_hex(4), *texts))

    def remove(_version: str) -> None:
        if documents:
            remove_document(database, documents.pop(chance.randrange(len(documents))))

    def build(version: str) -> None:
        house.reindexing.build(house.collection, version)

    def switch(version: str) -> None:
        with suppress(Conflict):
            house.reindexing.switch(house.collection, version)

    def discard(version: str) -> None:
        with suppress(Conflict):
            house.reindexing.discard(house.collection, version)

    events: list[Callable[[str], None]] = [add, add, remove, build, switch, discard]
    events += [lambda _: house.tidy(), lambda _: house.die(), lambda _: house.indexes.save()]
    for _ in range(50):
        version = chance.choice([house.old, house.new, house.third]).version
        chance.choice(events)(version)
        house.indexes.catch_up_all()
        house.assert_whole()
        assert house.indexes.get(house.collection).encoder_version == house.live()
    for version in house.states():
        build(version)
        house.assert_whole(version)
    house.indexes.close()


def test_searches_during_switches_never_fail_and_never_mix(database: Database, tmp_path: Path) -> None:
    """Vectors of different encoders have different lengths here, so a mixture would raise."""
    house = House(database, tmp_path / "indexes")
    house.add("a", *(f"red fox {number}" for number in range(30)))
    house.indexes.catch_up_all()
    house.reindexing.build(house.collection, house.new.version)
    house.indexes.start()
    failures: list[BaseException] = []
    seen: set[str] = set()
    done = threading.Event()

    def search() -> None:
        try:
            while not done.is_set():
                result = house.searcher.search(house.scope, "red fox 7", k=5)
                assert result.hits[0].text == "red fox 7"
                assert len(result.hits) == 5
                assert all(hit.dense_score is not None for hit in result.hits)
                seen.update(result.encoders.values())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(10):
        house.reindexing.switch(house.collection, (house.new, house.old)[turn % 2].version)
        house.add(str(turn), f"blue hen {turn}")
    done.set()
    for thread in threads:
        thread.join()
    house.indexes.close()
    assert not failures
    assert seen == {house.old.version, house.new.version}


def test_another_process_follows_a_switch(database: Database, tmp_path: Path) -> None:
    """It has indexes of its own: it searches its former one until the new one is complete there too."""
    house = House(database, tmp_path / "indexes")
    house.add("a", "red fox", "blue hen")
    house.indexes.catch_up_all()
    with IndexSet(database, tmp_path / "other", house.encoders) as other:
        other.catch_up_all()
        house.reindexing.build(house.collection, house.new.version)
        other.catch_up_all()
        house.add("b", "white cat")
        other.catch_up_all()  # without the vector, which is only made with the switch
        house.reindexing.switch(house.collection, house.new.version)
        assert other.get(house.collection).encoder_version == house.old.version
        other.catch_up_all()
        assert other.get(house.collection).encoder_version == house.new.version
        assert other.get(house.collection).vectors.count == 3
        assert other.verify(house.collection).ok
    house.indexes.close()

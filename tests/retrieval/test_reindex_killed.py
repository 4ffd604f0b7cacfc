"""Another encoder for a collection, while processes die and others search: old or new, never half, never mixed."""

from __future__ import annotations

import random
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from keepstone.platform.database import Database
from keepstone.platform.errors import Conflict
from keepstone.retrieval import embeddings, reindex
from keepstone.retrieval.indexes import IndexSet
from tests.retrieval.corpus import remove_document
from tests.retrieval.reindexing_house import House


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

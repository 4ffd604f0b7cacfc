"""Another encoder for a collection: built beside, switched in one step, never half, and always with the way back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from keepstone.platform.database import Database
from keepstone.platform.database.tables import IndexState, IndexVersionRow
from keepstone.platform.errors import Cancelled, Conflict, InvalidInput, ModelMissing, NotFound
from keepstone.retrieval import embeddings, reindex
from tests.retrieval.corpus import remove_document
from tests.retrieval.reindexing_house import House


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

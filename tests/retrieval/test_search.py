"""Search: what it finds, what it must never find, and what nobody should ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from keepstone.platform.access import Scope
from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChunkRow
from keepstone.platform.errors import InvalidInput
from keepstone.platform.settings import SearchSettings
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes import IndexSet
from keepstone.retrieval.search import Searcher
from tests.retrieval.corpus import add_collection, add_document, encoders_of, remove_document

_ENCODER = HashEncoder(64)
_ENCODERS = Encoders(_ENCODER)
_PASSAGES = [
    "Change the filter of the AF-200 pump every six months.",
    "The warranty of the pump lasts two years.",
    "Parental leave is granted for up to twelve months.",
    "Passwords must have at least fourteen characters.",
    "滤芯每六个月更换一次。",
]


@pytest.fixture
def indexes(both_databases: Database, tmp_path: Path) -> Iterator[IndexSet]:
    with IndexSet(both_databases, tmp_path / "indexes", _ENCODERS) as opened:
        yield opened


@pytest.fixture
def searcher(both_databases: Database, indexes: IndexSet) -> Searcher:
    return Searcher(both_databases, _ENCODERS, indexes, SearchSettings())


@pytest.fixture
def scope(both_databases: Database, indexes: IndexSet) -> Scope:
    """A collection of five passages."""
    collection_id = add_collection(both_databases, _ENCODER)
    for number, text in enumerate(_PASSAGES):
        add_document(both_databases, _ENCODER, collection_id, f"{number}.md", [text], context="Handbook")
    indexes.catch_up_all()
    return Scope((collection_id,))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("how often is the filter changed", 0),
        ("AF200", 0),
        ("warranty of the pump", 1),
        ("PARENTAL LEAVE", 2),
        ("更换滤芯", 4),
    ],
)
def test_finds_the_passage(searcher: Searcher, scope: Scope, query: str, expected: int) -> None:
    result = searcher.search(scope, query, k=3)
    assert result.hits[0].text == _PASSAGES[expected]
    assert result.hits[0].document_name == f"{expected}.md"
    assert [hit.score for hit in result.hits] == sorted((hit.score for hit in result.hits), reverse=True)


def test_a_hit_carries_what_an_answer_cites(searcher: Searcher, scope: Scope) -> None:
    hit = searcher.search(scope, "warranty").hits[0]
    assert (hit.start, hit.end, hit.context) == (0, len(_PASSAGES[1]), "Handbook")
    assert (hit.collection_id, hit.document_sha256) == (scope.collection_ids[0], "0" * 64)
    assert hit.dense_score is not None
    assert -1 <= hit.dense_score <= 1
    assert hit.lexical_score is not None
    assert hit.lexical_score > 0


def test_both_scores_are_given_whichever_index_found_it(searcher: Searcher, scope: Scope) -> None:
    """The evidence threshold reads both, so no candidate may miss one."""
    for hit in searcher.search(scope, "the warranty of filters").hits:
        assert hit.dense_score is not None
        assert hit.lexical_score is not None


def test_timings_and_positions_are_reported(searcher: Searcher, scope: Scope) -> None:
    result = searcher.search(scope, "filter")
    assert set(result.timings) == {"analyse", "encode", "dense", "lexical", "fuse", "regularise", "read"}
    assert result.index_seq == {scope.collection_ids[0]: len(_PASSAGES)}


def test_what_is_deleted_vanishes_before_the_index_knows(
    searcher: Searcher, scope: Scope, both_databases: Database
) -> None:
    """k hits come back all the same: more candidates are read than are asked for."""
    before = searcher.search(scope, "pump", k=2).hits
    remove_document(both_databases, before[0].document_id)
    after = searcher.search(scope, "pump", k=4).hits
    assert before[0].chunk_id not in [hit.chunk_id for hit in after]
    assert len(after) == 4
    assert after[0].chunk_id == before[1].chunk_id


def test_many_deleted_at_once_do_not_hide_the_rest(
    searcher: Searcher, scope: Scope, both_databases: Database, indexes: IndexSet
) -> None:
    collection_id = scope.collection_ids[0]
    crowd = add_document(both_databases, _ENCODER, collection_id, "crowd", ["warranty"] * 60)
    indexes.catch_up_all()
    remove_document(both_databases, crowd)
    assert searcher.search(scope, "warranty", k=3).hits[0].text == _PASSAGES[1]


class TestPermissions:
    def test_nothing_outside_the_scope_is_ever_found(
        self, searcher: Searcher, scope: Scope, both_databases: Database, indexes: IndexSet
    ) -> None:
        secret = add_collection(both_databases, _ENCODER, "secret")
        add_document(both_databases, _ENCODER, secret, "s", ["The warranty of the pump lasts two years, secretly."])
        indexes.catch_up_all()
        for query in ("warranty of the pump", "secretly"):
            assert all(hit.collection_id == scope.collection_ids[0] for hit in searcher.search(scope, query).hits)
        both = Scope((*scope.collection_ids, secret))
        assert searcher.search(both, "secretly").hits[0].collection_id == secret
        assert len(searcher.search(both, "warranty of the pump").hits) == 6

    def test_a_chunk_that_an_index_holds_by_mistake_is_not_read(
        self, searcher: Searcher, scope: Scope, both_databases: Database, indexes: IndexSet
    ) -> None:
        """The database has the last word on which collection a chunk is in."""
        secret = add_collection(both_databases, _ENCODER, "secret")
        add_document(both_databases, _ENCODER, secret, "s", ["secretly"])
        with both_databases.reading() as session:
            [chunk_id] = session.scalars(sa.select(ChunkRow.id).where(ChunkRow.collection_id == secret))
        words = indexes.get(scope.collection_ids[0]).words
        words.apply([], {chunk_id: ["secret"]}, words.position)
        assert chunk_id not in [hit.chunk_id for hit in searcher.search(scope, "secretly").hits]

    def test_an_empty_scope_finds_nothing(self, searcher: Searcher) -> None:
        assert searcher.search(Scope(()), "warranty").hits == ()

    def test_an_empty_or_unknown_collection_finds_nothing(self, searcher: Searcher, both_databases: Database) -> None:
        empty = add_collection(both_databases, _ENCODER, "empty")
        assert searcher.search(Scope((empty, "col_unknown")), "warranty").hits == ()

    def test_a_collection_named_twice_counts_once(self, searcher: Searcher, scope: Scope) -> None:
        twice = Scope(scope.collection_ids * 2)
        assert len(searcher.search(twice, "pump").hits) == len(_PASSAGES)


class TestLanguages:
    @pytest.fixture
    def english(self, both_databases: Database, indexes: IndexSet) -> Searcher:
        encoder = HashEncoder(64, languages=frozenset({"en"}))
        return Searcher(both_databases, Encoders(encoder), indexes, SearchSettings(dense_weight=0.9))

    def test_a_language_unknown_to_the_encoder_is_searched_by_words(self, english: Searcher, scope: Scope) -> None:
        result = english.search(scope, "滤芯每六个月更换一次吗")
        assert (result.query_language, result.dense_weight) == ("zh", 0.0)
        assert result.hits[0].text == _PASSAGES[4]
        scores = [hit.lexical_score for hit in result.hits]
        assert scores == sorted(scores, key=lambda score: -(score or 0.0))

    def test_a_known_language_keeps_its_weight(self, english: Searcher, scope: Scope) -> None:
        assert english.search(scope, "what is the warranty of the pump").dense_weight == 0.9

    def test_meaning_steps_in_where_words_find_nothing(self, english: Searcher, scope: Scope) -> None:
        result = english.search(scope, "龘靐齉爩鱻麤")
        assert result.dense_weight == 0.0
        assert len(result.hits) == len(_PASSAGES)


class TestCollectionsWithEncodersOfTheirOwn:
    @pytest.fixture
    def encoders(self) -> Encoders:
        return encoders_of(_ENCODER, _Dull(48))

    def _other(self, database: Database, *texts: str) -> str:
        dull = _Dull(48)
        collection_id = add_collection(database, dull, "other")
        add_document(database, dull, collection_id, "o", texts)
        return collection_id

    def test_each_is_searched_with_its_own(self, both_databases: Database, tmp_path: Path, encoders: Encoders) -> None:
        first = add_collection(both_databases, _ENCODER)
        add_document(both_databases, _ENCODER, first, "a", ["red fox", "blue hen", "green cow"])
        second = self._other(both_databases, "red wolf", "black bird", "white cat")
        with IndexSet(both_databases, tmp_path / "two", encoders) as indexes:
            indexes.catch_up_all()
            result = Searcher(both_databases, encoders, indexes, SearchSettings()).search(Scope((first, second)), "red")
        assert result.encoders == {first: _ENCODER.version, second: _Dull(48).version}
        assert {hit.text for hit in result.hits[:2]} == {"red fox", "red wolf"}

    def test_higher_cosines_of_one_encoder_do_not_drown_the_other(
        self, both_databases: Database, tmp_path: Path, encoders: Encoders
    ) -> None:
        """Raw, every passage of the dull encoder would come before the best of the other."""
        first = add_collection(both_databases, _ENCODER)
        add_document(both_databases, _ENCODER, first, "a", ["red fox in the snow", "blue hen", "green cow"])
        second = self._other(both_databases, "stone", "iron", "glass")
        with IndexSet(both_databases, tmp_path / "two", encoders) as indexes:
            indexes.catch_up_all()
            searcher = Searcher(both_databases, encoders, indexes, SearchSettings(dense_weight=1.0))
            hits = searcher.search(Scope((first, second)), "red fox").hits
        assert hits[0].text == "red fox in the snow"
        [best] = [hit for hit in hits if hit.text == "red fox in the snow"]
        assert min(hit.dense_score or 0.0 for hit in hits if hit.collection_id == second) > (best.dense_score or 0.0)

    def test_each_has_its_say_in_the_languages_it_knows(self, both_databases: Database, tmp_path: Path) -> None:
        english = HashEncoder(64, languages=frozenset({"en"}))
        encoders = encoders_of(english, _Dull(48))
        first = add_collection(both_databases, english)
        add_document(both_databases, english, first, "a", ["red fox", "blue hen"])
        second = self._other(both_databases, "滤芯每六个月更换一次", "泵")
        with IndexSet(both_databases, tmp_path / "two", encoders) as indexes:
            indexes.catch_up_all()
            searcher = Searcher(both_databases, encoders, indexes, SearchSettings(dense_weight=0.5))
            assert searcher.search(Scope((first,)), "滤芯更换").dense_weight == 0.0
            result = searcher.search(Scope((first, second)), "滤芯更换")
        assert result.dense_weight == 0.5
        assert result.hits[0].collection_id == second


class _Dull(HashEncoder):
    """Finds everything alike, as many encoders do: its cosines lie close below 1."""

    def encode_query(self, text: str) -> NDArray[np.float32]:
        vector = super().encode_query(text) * np.float32(0.2)
        vector[0] += 1.0
        unit: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype(np.float32)
        return unit


class TestBadQueries:
    @pytest.mark.parametrize("query", ["", "   ", "\n\t", "\0", "\0\0 "])
    def test_an_empty_query_is_refused(self, searcher: Searcher, scope: Scope, query: str) -> None:
        with pytest.raises(InvalidInput, match="empty"):
            searcher.search(scope, query)

    def test_k_must_be_positive(self, searcher: Searcher, scope: Scope) -> None:
        with pytest.raises(InvalidInput):
            searcher.search(scope, "pump", k=0)

    @pytest.mark.parametrize(
        "query",
        [
            "the of and",
            "😀😀",
            "pu\0mp",
            "\ud800",
            "AND OR NOT",
            'terms:"x" ~2',
            "*?[](){}^\\",
            "a" * 70_000,
            "' OR 1=1 --",
        ],
    )
    def test_odd_queries_find_something_or_nothing_but_never_fail(
        self, searcher: Searcher, scope: Scope, query: str
    ) -> None:
        assert len(searcher.search(scope, query).hits) <= len(_PASSAGES)

    def test_a_megabyte_is_cut(self, searcher: Searcher, scope: Scope) -> None:
        query = "warranty " + " ".join(f"word{number}" for number in range(120_000))
        assert searcher.search(scope, query).hits[0].text == _PASSAGES[1]

    def test_more_hits_than_passages(self, searcher: Searcher, scope: Scope) -> None:
        assert len(searcher.search(scope, "pump", k=10**12).hits) == len(_PASSAGES)


def test_exact_search_finds_the_same_here(searcher: Searcher, scope: Scope) -> None:
    walked, compared = searcher.search(scope, "pump"), searcher.search(scope, "pump", exact=True)
    assert [hit.chunk_id for hit in walked.hits] == [hit.chunk_id for hit in compared.hits]


def test_documents_can_be_left_out_as_if_they_were_not_there(
    searcher: Searcher, scope: Scope, both_databases: Database, indexes: IndexSet
) -> None:
    """Neither found nor counted in the scores of the others."""
    with both_databases.reading() as session:
        hidden = session.scalars(sa.select(ChunkRow.document_id).order_by(ChunkRow.id)).all()[:2]
    query = "warranty of the pump filter"
    without = searcher.search(scope, query, k=5, without=hidden)
    assert {hit.document_id for hit in without.hits}.isdisjoint(hidden)
    for document in hidden:
        remove_document(both_databases, document)
    indexes.catch_up_all()
    gone = searcher.search(scope, query, k=5)
    assert [hit.chunk_id for hit in without.hits] == [hit.chunk_id for hit in gone.hits]
    assert [hit.dense_score for hit in without.hits] == pytest.approx([hit.dense_score for hit in gone.hits])

"""Search with a reranker: it orders the best candidates, and says so; and every stage can be explained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from keepstone.platform.access import Scope
from keepstone.platform.database import Database
from keepstone.platform.settings import SearchSettings
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes import IndexSet
from keepstone.retrieval.reranking import Rerankers
from keepstone.retrieval.search import Searcher
from tests.retrieval.corpus import add_collection, add_document

_ENCODER = HashEncoder()
_TEXTS = [f"The lamp of room {number} lasts {number} hours." for number in range(8)]


class Backwards:
    """Likes what stands last in the alphabet."""

    version = "backwards@1"

    def __init__(self) -> None:
        self.read: list[int] = []

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        self.read.append(len(texts))
        return np.array([float(sorted(texts).index(text)) for text in texts])


@pytest.fixture
def indexes(database: Database, tmp_path: Path) -> Iterator[IndexSet]:
    with IndexSet(database, tmp_path / "indexes", Encoders(_ENCODER)) as opened:
        yield opened


@pytest.fixture
def scope(database: Database, indexes: IndexSet) -> Scope:
    collection_id = add_collection(database, _ENCODER)
    for number, text in enumerate(_TEXTS):
        add_document(database, _ENCODER, collection_id, f"{number}.md", [text], context="Rooms")
    indexes.catch_up_all()
    return Scope((collection_id,))


def searcher(database: Database, indexes: IndexSet, model: Backwards, **settings: object) -> Searcher:
    chosen = SearchSettings.model_validate(settings)
    return Searcher(database, Encoders(_ENCODER), indexes, chosen, Rerankers(_ENCODER, lambda _: model))


def test_it_orders_the_best_candidates_and_no_others(database: Database, indexes: IndexSet, scope: Scope) -> None:
    plain = searcher(database, indexes, Backwards()).search(scope, "the lamp of room 3", k=8)
    assert plain.reranker is None
    assert all(hit.rerank_score is None for hit in plain.hits)
    model = Backwards()
    search = searcher(database, indexes, model, reranker="backwards", rerank_candidates=4, rerank_weight=1.0)
    result = search.search(scope, "the lamp of room 3", k=2)
    best = sorted((hit.text for hit in plain.hits[:4]), reverse=True)
    assert [hit.text for hit in result.hits] == best[:2]
    assert (model.read, result.reranker) == ([4], "backwards@1")
    assert [hit.rerank_score for hit in result.hits] == [3.0, 2.0]
    assert [hit.score for hit in result.hits] == sorted((hit.score for hit in result.hits), reverse=True)
    assert "rerank" in result.timings


def test_a_search_may_choose_another_one_or_none(database: Database, indexes: IndexSet, scope: Scope) -> None:
    search = searcher(database, indexes, Backwards(), reranker="backwards")
    assert search.search(scope, "lamp", reranker="off").reranker is None
    assert search.search(scope, "lamp", reranker="late").reranker == f"late/1 {_ENCODER.version}"


def test_without_weight_it_changes_nothing(database: Database, indexes: IndexSet, scope: Scope) -> None:
    """The order of search stays, also among equal scores."""
    plain = searcher(database, indexes, Backwards()).search(scope, "the lamp of room 3", k=8)
    light = searcher(database, indexes, Backwards(), reranker="b", rerank_weight=0.0).search(
        scope, "the lamp of room 3", k=8
    )
    assert [hit.chunk_id for hit in light.hits] == [hit.chunk_id for hit in plain.hits]


def test_nothing_found_is_nothing_to_rerank(database: Database, indexes: IndexSet, scope: Scope) -> None:
    result = searcher(database, indexes, Backwards(), reranker="b").search(scope, "lamp", where={"no": "such"})
    assert result.hits == ()


def test_every_stage_is_explained(database: Database, indexes: IndexSet, scope: Scope) -> None:
    search = searcher(database, indexes, Backwards(), reranker="b", rerank_weight=1.0)
    result = search.search(scope, "the lamp of room 3", k=3, explained=True)
    assert [each.chunk_id for each in result.explanations] == [hit.chunk_id for hit in result.hits]
    assert [each.final.rank for each in result.explanations] == [1, 2, 3]
    assert [each.rerank.rank for each in result.explanations] == [1, 2, 3]
    for each, hit in zip(result.explanations, result.hits, strict=True):
        assert each.dense.score == hit.dense_score
        assert each.lexical.score == hit.lexical_score
        assert each.rerank.score == hit.rerank_score
        assert each.final.score == hit.score
    plain = search.search(scope, "the lamp of room 3", k=8, reranker="off", explained=True)
    assert [each.fused.rank for each in plain.explanations] == sorted(
        each.fused.rank for each in plain.explanations if each.fused.rank
    )
    assert {each.rerank.rank for each in plain.explanations} == {None}
    nothing_lexical = search.search(scope, "zzz", k=1, reranker="off", explained=True).explanations[0]
    assert (nothing_lexical.lexical.score, nothing_lexical.lexical.rank) == (None, None)
    assert result.explanations != ()
    assert search.search(scope, "lamp").explanations == ()


def test_the_weight_of_meaning_can_be_chosen(database: Database, indexes: IndexSet, scope: Scope) -> None:
    search = searcher(database, indexes, Backwards())
    words = search.search(scope, "the lamp of room 3", dense_weight=0.0)
    assert words.dense_weight == 0.0
    lexical = [hit.lexical_score for hit in words.hits]
    assert lexical == sorted(lexical, key=lambda score: -(score or 0.0))

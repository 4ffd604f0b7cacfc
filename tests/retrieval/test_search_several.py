"""Several queries together find what each finds, within one scope."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from keepstone.platform.access import Scope, readable_scope
from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.several import RANK_CONSTANT, Query, reciprocal_ranks, search_several
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest, open_stack

FILES = {
    f"{name}.md": f"# {name}\n\nThe {name} stands in the house.".encode() for name in ("pump", "filter", "lamp", "door")
}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_stack(tmp_path_factory.mktemp("home")) as runtime:
        ingest(runtime, admin(runtime), "house", FILES)
        ingest(runtime, admin(runtime), "other", {"secret.md": b"# Pump\n\nThe pump and the lamp are secret."})
        yield runtime


@pytest.fixture
def scope(runtime: Runtime) -> Scope:
    with runtime.database.reading() as session:
        return readable_scope(session, admin(runtime), ["house"])


def test_one_query_is_a_plain_search(runtime: Runtime, scope: Scope) -> None:
    found = search_several(runtime.searcher, scope, [Query("lamp")], k=3)
    assert found.hits == runtime.searcher.search(scope, "lamp", k=3).hits
    assert found.ranks == ((1,), (2,), (3,))


def test_both_queries_are_answered(runtime: Runtime, scope: Scope) -> None:
    found = search_several(runtime.searcher, scope, [Query("lamp"), Query("pump")], k=2)
    assert {hit.document_name for hit in found.hits} == {"lamp.md", "pump.md"}
    assert [result.hits[0].document_name for result in found.results] == ["lamp.md", "pump.md"]
    assert all(1 in ranks for ranks in found.ranks)
    assert found.timings["lexical"] >= found.results[0].timings["lexical"]


def test_a_query_without_weight_has_no_say(runtime: Runtime, scope: Scope) -> None:
    found = search_several(runtime.searcher, scope, [Query("lamp", weight=0), Query("pump")], k=4)
    alone = runtime.searcher.search(scope, "pump", k=4)
    assert [hit.chunk_id for hit in found.hits] == [hit.chunk_id for hit in alone.hits]


def test_a_supposed_answer_moves_the_vector_and_not_the_words(runtime: Runtime, scope: Scope) -> None:
    plain = runtime.searcher.search(scope, "lamp", k=4)
    found = search_several(runtime.searcher, scope, [Query("lamp", supposed="The door")], k=4)
    before = {hit.document_name: hit for hit in plain.hits}
    for hit in found.results[0].hits:
        assert hit.lexical_score == before[hit.document_name].lexical_score
    door = next(hit for hit in found.hits if hit.document_name == "door.md")
    assert (door.dense_score or 0) > (before["door.md"].dense_score or 0)


def test_an_empty_query_is_refused(runtime: Runtime, scope: Scope) -> None:
    with pytest.raises(InvalidInput):
        search_several(runtime.searcher, scope, [Query("lamp"), Query(" ")])


def test_reciprocal_ranks_are_as_published() -> None:
    scores = reciprocal_ranks([[7, 8], [8]], [1.0, 0.5])
    assert np.isclose(scores[7], 1 / (RANK_CONSTANT + 1))
    assert np.isclose(scores[8], 1 / (RANK_CONSTANT + 2) + 0.5 / (RANK_CONSTANT + 1))


def test_what_a_separate_query_finds_first_comes_before_what_all_find_low(runtime: Runtime, scope: Scope) -> None:
    """Fused by sums, the filter would win: second for each, it is what nobody asked for."""
    sides = [
        Query("lamp filter lamp"),
        Query("pump filter pump", separate=True),
        Query("door filter door", separate=True),
    ]
    found = search_several(runtime.searcher, scope, sides, k=4)
    assert {hit.document_name for hit in found.hits[:3]} == {"lamp.md", "pump.md", "door.md"}
    assert found.hits[0].document_name == "lamp.md", "of equals, what the question itself finds stays first"

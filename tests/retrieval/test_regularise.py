"""Regularisation: standing together and likeness draw scores together, and nothing else does."""

from __future__ import annotations

import numpy as np
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChunkRow
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.regularise import Places, drawn_to_neighbours, read_places, regularise
from tests.retrieval.corpus import add_collection, add_document


def _likeness(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    return (unit @ unit.T).astype(np.float32)


@given(st.integers(0, 30), st.floats(0, 1), st.integers(0, 9))
def test_no_score_leaves_the_range_of_all(count: int, weight: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, likeness = random.normal(size=count), _likeness(random.normal(size=(count, 4)))
    result = regularise(scores, likeness, weight=weight)
    assert result.shape == scores.shape
    if count:
        assert scores.min() - 1e-9 <= result.min()
        assert result.max() <= scores.max() + 1e-9


@given(hnp.arrays(np.float64, st.integers(0, 20), elements=st.floats(-5, 5)))
def test_nothing_changes_without_weight_or_without_likeness(scores: np.ndarray) -> None:
    """Chunks whose vectors are missing, or of a language that the encoder does not know, keep their scores."""
    alike = np.ones((len(scores), len(scores)), dtype=np.float32)
    assert np.allclose(regularise(scores, alike, weight=0.0), scores)
    assert np.allclose(regularise(scores, np.zeros_like(alike), weight=0.5), scores)


def test_one_among_good_ones_overtakes_one_that_stands_alone() -> None:
    near, far = np.tile([1.0, 0.0], (7, 1)), np.tile([0.0, 1.0], (7, 1))
    scores = np.array([1.9, *[1.5] * 6, 2.0, *[-1.0] * 6])
    result = regularise(scores, _likeness(np.concatenate([near, far])), weight=0.2)
    assert int(result.argmax()) == 0


@given(st.integers(1, 12), st.floats(0, 1), st.integers(0, 9))
def test_documents_of_one_passage_keep_their_scores(count: int, weight: float, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=count)
    alone = Places(np.arange(count), np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64))
    assert np.allclose(drawn_to_neighbours(scores, alone, weight=weight), scores)


def test_a_passage_is_drawn_to_the_two_on_either_side_of_it() -> None:
    """In a document of nine, the fourth and the seventh stand too far apart, and the eighth is no candidate."""
    places = Places(np.array([0, 0, 0, 1]), np.array([3, 4, 6, 5]), np.array([8, 8, 8, 8]))
    drawn = drawn_to_neighbours(np.array([2.0, 1.0, 3.0, -1.0]), places, weight=0.5)
    assert drawn.tolist() == [1 + 3 / 10, 0.5 + 6 / 10, 1.5 + 4 / 10, -0.5 - 1 / 10]


def test_places_are_those_of_the_database(both_databases: Database) -> None:
    collection_id = add_collection(both_databases, HashEncoder(8))
    for name in ("one.md", "two.md"):
        add_document(both_databases, HashEncoder(8), collection_id, name, ("First. ", "Second. "))
    with both_databases.transaction() as session:
        ids = list(session.scalars(sa.select(ChunkRow.id).order_by(ChunkRow.id)))
        places = read_places(session, [*reversed(ids), 999_999])
    two, one, gone = places.documents[[0, 2, 4]].tolist()
    assert places.documents.tolist() == [two, two, one, one, gone]
    assert len({one, two, gone}) == 3, "what is gone is beside nothing"
    assert places.ordinals.tolist() == [1, 0, 1, 0, 0]
    assert places.lasts.tolist() == [1, 1, 1, 1, 0]

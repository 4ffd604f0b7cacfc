"""Vectors in Milvus: the contract, and what its limits ask for."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.parts.milvus_lite import MilvusLite
from keepstone.retrieval.indexes import milvus_rows, milvus_vectors
from keepstone.retrieval.indexes.base import UNBUILT, Position
from keepstone.retrieval.indexes.milvus_rows import MilvusRows
from keepstone.retrieval.indexes.milvus_server import MilvusServer
from keepstone.retrieval.indexes.milvus_vectors import MilvusVectors
from tests.retrieval.indexes.test_vector_index import TestVectorIndexContract as VectorIndexContract

_DIMENSION = 16


@pytest.fixture
def make(milvus: MilvusLite) -> Callable[..., MilvusVectors]:
    """Open the index of the test, again and again."""
    server, name = MilvusServer(milvus.url), f"test_{secrets.token_hex(6)}"
    return lambda encoder="hash-16@1": MilvusVectors(server, name, dimension=_DIMENSION, encoder=encoder)


@pytest.fixture
def index(make: Callable[..., MilvusVectors]) -> MilvusVectors:
    return make()


class TestMilvusVectors(VectorIndexContract):
    divisor = 5


def _circle(count: int) -> dict[int, NDArray[np.float32]]:
    """Return unit vectors of which a higher id is less like the first."""
    angles = np.linspace(0, np.pi, count, dtype=np.float32)
    rows = np.zeros((count, _DIMENSION), dtype=np.float32)
    rows[:, 0], rows[:, 1] = np.cos(angles), np.sin(angles)
    return dict(enumerate(rows))


@pytest.mark.parametrize("allowed", [range(1, 200, 2), range(190, 200), range(400), [199, 3, 5000]])
def test_more_allowed_ids_than_a_filter_takes(
    index: MilvusVectors, monkeypatch: pytest.MonkeyPatch, allowed: list[int]
) -> None:
    """Among the best, or far behind them: a million allowed ids are no filter that a server would parse."""
    monkeypatch.setattr(milvus_rows, "_LISTED_IDS", 8)
    monkeypatch.setattr(milvus_rows, "MAX_HITS", 64)
    vectors = _circle(200)
    index.apply([], vectors, Position(1))
    expected = sorted(set(allowed) & set(vectors))[:5]
    assert index.search(vectors[0], 5, allowed=allowed).ids.tolist() == expected


@pytest.mark.parametrize("allowed", [None, range(0, 100, 2)])
def test_more_results_than_a_search_returns(
    index: MilvusVectors, monkeypatch: pytest.MonkeyPatch, allowed: list[int] | None
) -> None:
    monkeypatch.setattr(milvus_vectors, "MAX_HITS", 20)
    vectors = _circle(100)
    index.apply([], vectors, Position(1))
    expected = [each for each in vectors if allowed is None or each in allowed][:30]
    assert index.search(vectors[0], 30, allowed=allowed).ids.tolist() == expected


def test_the_position_is_never_found(index: MilvusVectors) -> None:
    """It is a row among the others; all cosines may be below its zero."""
    vectors = _circle(3)
    index.apply([], vectors, Position(1))
    assert set(index.search(-vectors[1], 3).ids.tolist()) == {0, 1, 2}
    assert index.search(-vectors[1], 3, allowed=[-1, 1]).ids.tolist() == [1]
    assert index.count == 3


def test_vectors_of_another_encoder_are_not_used(make: Callable[..., MilvusVectors]) -> None:
    make().apply([], _circle(3), Position(1))
    assert make().position == Position(1)
    assert make("hash-16@2").position == UNBUILT


def test_what_a_kill_leaves_undone_is_done_again(
    make: Callable[..., MilvusVectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows come first and the position last: a position never promises rows that are not there."""
    vectors = _circle(4)
    index = make()
    index.apply([], {1: vectors[1]}, Position(1))

    def die(rows: MilvusRows, position: Position) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MilvusRows, "_write_position", die)
        with pytest.raises(KeyboardInterrupt):
            index.apply([1], {2: vectors[2]}, Position(2))
    again = make()
    assert again.position == Position(1)
    again.apply([1], {2: vectors[2]}, Position(2))
    assert (again.ids().tolist(), make().position) == ([2], Position(2))

"""The contract of `VectorIndex`, and the snapshots of `HnswIndex`."""

from __future__ import annotations

import errno
import json
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from keepstone.platform.errors import StorageFull
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.indexes import hnsw
from keepstone.retrieval.indexes.backends import IndexKey
from keepstone.retrieval.indexes.base import UNBUILT, Position, VectorIndex
from keepstone.retrieval.indexes.codes import BinaryCodes, Int8Codes
from keepstone.retrieval.indexes.hnsw import HnswIndex
from keepstone.retrieval.indexes.pgvector import PgvectorIndex
from keepstone.retrieval.indexes.postgres_backend import PostgresBackend
from keepstone.retrieval.indexes.scan import ScanIndex

_DIMENSION = 16


def _vectors(ids: range, seed: int = 0) -> dict[int, NDArray[np.float32]]:
    rows = np.random.default_rng(seed).normal(size=(len(ids), _DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return dict(zip(ids, rows, strict=True))


def _best(vectors: dict[int, NDArray[np.float32]], question: NDArray[np.float32], k: int) -> list[int]:
    return sorted(vectors, key=lambda each: (-float(vectors[each] @ question), each))[:k]


@pytest.fixture
def make_hnsw(tmp_path: Path) -> Callable[[], HnswIndex]:
    """Open the index in the test's folder, again and again."""
    return lambda: HnswIndex(tmp_path / "index", dimension=_DIMENSION, encoder="hash-16@1")


@pytest.fixture
def make_pgvector(postgres_backend: PostgresBackend) -> Callable[[], PgvectorIndex]:
    """Open the index in the test's database, again and again."""
    return lambda: postgres_backend.vectors(IndexKey("col", "hash-16"), "hash-16@1", _DIMENSION)


@pytest.fixture
def make_int8(tmp_path: Path) -> Callable[[], ScanIndex]:
    """Open the index in the test's folder, again and again."""
    return lambda: ScanIndex(tmp_path / "index", dimension=_DIMENSION, encoder="hash-16@1", codes=Int8Codes(_DIMENSION))


@pytest.fixture
def make_binary(tmp_path: Path) -> Callable[[], ScanIndex]:
    """Open the index in the test's folder, again and again."""
    return lambda: ScanIndex(
        tmp_path / "index", dimension=_DIMENSION, encoder="hash-16@1", codes=BinaryCodes(_DIMENSION)
    )


@pytest.fixture(params=["hnsw", "int8", "binary", pytest.param("pgvector", marks=pytest.mark.postgres)])
def make(request: pytest.FixtureRequest) -> Callable[[], VectorIndex]:
    """Open the same index again and again; each implementation in turn."""
    made: Callable[[], VectorIndex] = request.getfixturevalue(f"make_{request.param}")
    return made


@pytest.fixture
def index(make: Callable[[], VectorIndex]) -> VectorIndex:
    return make()


@pytest.mark.contract
class TestVectorIndexContract:
    divisor = 1
    """Of the larger numbers of vectors, for indexes that take long to fill."""

    def test_a_new_index_is_unbuilt_and_finds_nothing(self, index: VectorIndex) -> None:
        assert index.position == index.durable_position == UNBUILT
        assert index.count == 0
        assert len(index.search(np.ones(_DIMENSION, np.float32), 10)) == 0
        assert len(index.search(np.ones(_DIMENSION, np.float32), 10, exact=True)) == 0
        assert index.ids().tolist() == []

    def test_finds_what_exact_search_finds(self, index: VectorIndex) -> None:
        vectors = _vectors(range(10, 2500 // self.divisor))
        index.apply([], vectors, Position(1))
        found = 0
        for question in _vectors(range(20), seed=1).values():
            exact = index.search(question, 10, exact=True)
            assert exact.ids.tolist() == _best(vectors, question, 10)
            assert all(np.diff(exact.scores) <= 0)
            found += len(set(exact.ids.tolist()) & set(index.search(question, 10).ids.tolist()))
        assert found >= 190

    def test_scores_are_cosine_similarities(self, index: VectorIndex) -> None:
        vectors = _vectors(range(5))
        index.apply([], vectors, Position(1))
        ranking = index.search(vectors[3], 5)
        assert ranking.ids[0] == 3
        assert ranking.scores[0] == pytest.approx(1.0, abs=1e-5)
        scores = index.scores(vectors[3], [4, 99, 3])
        assert scores[0] == pytest.approx(float(vectors[4] @ vectors[3]), abs=1e-4)
        assert np.isnan(scores[1])
        assert np.isnan(index.scores(vectors[3], [])).tolist() == []

    def test_vectors_are_given_back(self, index: VectorIndex) -> None:
        """Search compares candidates with each other by them."""
        vectors = _vectors(range(5))
        index.apply([], vectors, Position(1))
        found = index.vectors([4, 99, 3])
        assert found.shape == (3, _DIMENSION)
        assert np.allclose(found[[0, 2]], [vectors[4], vectors[3]], atol=1e-3)
        assert np.isnan(found[1]).all()
        assert index.vectors([]).shape == (0, _DIMENSION)

    def test_asking_for_more_than_there_is_gives_all(self, index: VectorIndex) -> None:
        vectors = _vectors(range(7))
        index.apply([], vectors, Position(1))
        for exact in (False, True):
            assert index.search(vectors[0], 500, exact=exact).ids.tolist() == _best(vectors, vectors[0], 7)
        assert len(index.search(vectors[0], 0)) == 0

    def test_removed_vectors_are_never_found(self, index: VectorIndex) -> None:
        vectors = _vectors(range(600))
        index.apply([], vectors, Position(1))
        index.apply(range(0, 600, 2), {}, Position(2))
        assert index.ids().tolist() == list(range(1, 600, 2))
        for question in list(vectors.values())[:50]:
            assert all(index.search(question, 20).ids % 2 == 1)
        assert np.isnan(index.scores(vectors[0], [0])).all()

    def test_places_of_removed_vectors_are_used_again(self, index: VectorIndex) -> None:
        """A collection that changes all the time must not grow all the time."""
        size = 900 // self.divisor
        index.apply([], _vectors(range(size)), Position(1))
        before = index.memory_bytes
        for turn in range(1, 6):
            old, new = range((turn - 1) * size, turn * size), range(turn * size, (turn + 1) * size)
            index.apply(old, _vectors(new, seed=turn), Position(turn + 1))
            assert index.memory_bytes <= 3 * before
        assert index.ids().tolist() == list(range(5 * size, 6 * size))
        question = _vectors(range(1), seed=9)[0]
        assert index.search(question, 10).ids.tolist() == index.search(question, 10, exact=True).ids.tolist()

    def test_removing_nearly_all_leaves_the_rest_findable(self, index: VectorIndex) -> None:
        size = 3000 // self.divisor
        vectors = _vectors(range(size))
        index.apply([], vectors, Position(1))
        index.apply(range(size - 10), {}, Position(2))
        assert set(index.search(vectors[0], 10).ids.tolist()) == set(range(size - 10, size))

    def test_applying_twice_changes_nothing(self, index: VectorIndex) -> None:
        """After a kill the same changes come again."""
        vectors = _vectors(range(50))
        for _ in range(2):
            index.apply([3, 999], {each: vectors[each] for each in vectors if each != 3}, Position(1))
        assert index.count == 49
        assert 3 not in index.ids()

    @pytest.mark.parametrize("allowed", [[], [5], [5, 99_999], list(range(0, 9000, 2))])
    def test_only_allowed_ids_are_found(self, index: VectorIndex, allowed: list[int]) -> None:
        vectors = _vectors(range(9000 // self.divisor))
        index.apply([], vectors, Position(1))
        found = index.search(vectors[1], 10, allowed=allowed).ids.tolist()
        assert set(found) <= set(allowed)
        assert len(found) == min(10, len(set(allowed) & set(vectors)))

    def test_clear_forgets_all(self, make: Callable[[], VectorIndex]) -> None:
        index = make()
        index.apply([], _vectors(range(5)), Position(1))
        index.save()
        index.clear()
        assert (index.count, index.position) == (0, UNBUILT)
        assert make().count == 0

    def test_what_is_saved_comes_back(self, make: Callable[[], VectorIndex]) -> None:
        index = make()
        vectors = _vectors(range(100))
        index.apply([], vectors, Position(1, "+1:x"))
        index.apply([7], {}, Position(2, "-7:"))
        index.save()
        again = make()
        assert again.position == again.durable_position == Position(2, "-7:")
        assert again.ids().tolist() == [each for each in range(100) if each != 7]
        assert again.search(vectors[7], 3).ids.tolist() == index.search(vectors[7], 3).ids.tolist()
        again.apply([8], _vectors(range(100, 300)), Position(3))
        assert again.count == 298

    def test_searches_run_while_vectors_come_and_go(self, index: VectorIndex) -> None:
        """Readers and one writer at once: never an error, never a removed or unknown id."""
        stay = _vectors(range(10_000, 10_200), seed=7)
        index.apply([], stay | _vectors(range(500)), Position(1))
        question = _vectors(range(1), seed=5)[0]
        failures: list[BaseException] = []
        done = threading.Event()

        def search() -> None:
            try:
                while not done.is_set():
                    ranking = index.search(question, 10)
                    assert len(set(ranking.ids.tolist())) == 10
                    assert np.isfinite(ranking.scores).all()
                    index.scores(question, ranking.ids.tolist())
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(1, 6):
            new = range(turn * 500, (turn + 1) * 500)
            index.apply(range((turn - 1) * 500, turn * 500), _vectors(new, seed=turn), Position(turn + 1))
            index.save()
            assert index.ids().tolist() == [*new, *stay]
        done.set()
        for thread in threads:
            thread.join()
        assert not failures


def _churned(index: HnswIndex, seed: int) -> dict[int, NDArray[np.float32]]:
    """Replace three of 300 passages 600 times; return the vectors that are there in the end."""
    chance, choice = random.Random(seed), np.random.default_rng(seed)

    def passages(ids: range) -> dict[int, NDArray[np.float32]]:
        lengths = (chance.randint(5, 30) for _ in ids)
        texts = [" ".join(f"word{int(400 * chance.random() ** 3)}" for _ in range(each)) for each in lengths]
        return dict(zip(ids, HashEncoder(64).encode_documents(texts), strict=True))

    live = passages(range(300))
    index.apply([], live, Position(1))
    for turn in range(600):
        removed = choice.choice(sorted(live), 3, replace=False).tolist()
        added = passages(range(300 + 3 * turn, 303 + 3 * turn))
        index.apply(removed, added, Position(turn + 2))
        live = {each: live[each] for each in live if each not in removed} | added
    return live


class TestChurn:
    """A collection that changes all the time loses nothing: with hnswlib's `replace_deleted`, it did."""

    @pytest.mark.parametrize("seed", [0, 3, 5])
    def test_every_vector_can_be_reached(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        monkeypatch.setattr(hnsw, "_COMPARE", 0)
        index = HnswIndex(tmp_path, dimension=64, encoder="hash-64@1")
        live = _churned(index, seed)
        assert [each for each in live if each not in index.search(live[each], 10).ids] == []

    def test_a_small_collection_is_searched_exactly(self, tmp_path: Path) -> None:
        index = HnswIndex(tmp_path, dimension=64, encoder="hash-64@1")
        live = _churned(index, 0)
        assert index.ids().tolist() == sorted(live)
        for vector in live.values():
            assert index.search(vector, 10).ids.tolist() == _best(live, vector, 10)

    def test_an_id_may_come_back_with_another_vector(self, make_hnsw: Callable[[], HnswIndex]) -> None:
        """SQLite gives the highest id again when its row was removed."""
        index, first, second = make_hnsw(), _vectors(range(50)), _vectors(range(50), seed=1)
        index.apply([], first, Position(1))
        index.apply([49], {}, Position(2))
        index.apply([], {49: second[49]}, Position(3))
        assert index.search(second[49], 1).ids.tolist() == [49]
        assert index.search(first[49], 1).scores[0] < 0.999
        assert index.scores(second[49], [49])[0] == pytest.approx(1, abs=1e-3)

    def test_a_late_id_is_found_among_higher_ones(self, make_hnsw: Callable[[], HnswIndex]) -> None:
        """A passage whose vector was made late is added behind those with higher ids."""
        index, vectors = make_hnsw(), _vectors(range(1500))
        for seq, ids in enumerate((range(500, 1000), range(500), range(1000, 1500))):
            index.apply([], {each: vectors[each] for each in ids}, Position(seq))
        index.apply([3, 700, 1200], {}, Position(4))
        index.save()
        for each in (index, make_hnsw()):
            assert each.ids().tolist() == sorted(vectors.keys() - {3, 700, 1200})
            np.testing.assert_array_equal(each.vectors(range(4, 500)), [vectors[each] for each in range(4, 500)])
            assert np.isnan(each.vectors([3, 700, 1200])).all()

    @pytest.mark.parametrize("limit", ["_COMPARE", "_LOOK_THROUGH"])
    def test_what_is_allowed_is_found_on_every_way(
        self, make_hnsw: Callable[[], HnswIndex], monkeypatch: pytest.MonkeyPatch, limit: str
    ) -> None:
        """By comparing, by codes or by a walk, whichever is quickest for so many allowed."""
        index, vectors = make_hnsw(), _vectors(range(4000))
        index.apply([], vectors, Position(1))
        index.apply(range(0, 4000, 5), {}, Position(2))
        monkeypatch.setattr(hnsw, limit, 0)
        allowed = list(range(0, 4000, 2))
        questions = list(_vectors(range(20), seed=1).values())
        exact = [index.search(each, 10, allowed=allowed, exact=True).ids.tolist() for each in questions]
        there = {each: vectors[each] for each in allowed if each % 5}
        assert exact == [_best(there, each, 10) for each in questions]
        found = [index.search(each, 10, allowed=[*reversed(allowed), 2, 2]).ids.tolist() for each in questions]
        assert sum(len(set(one) & set(other)) for one, other in zip(exact, found, strict=True)) >= 180

    def test_equal_vectors_come_by_ascending_id(self, make_hnsw: Callable[[], HnswIndex]) -> None:
        """However many there are, the same of them are found each time."""
        index = make_hnsw()
        [vector] = _vectors(range(1)).values()
        index.apply([], dict.fromkeys(range(200, 100, -1), vector) | _vectors(range(50), seed=1), Position(1))
        assert index.search(vector, 10).ids.tolist() == list(range(101, 111))


@pytest.mark.parametrize(("count", "candidates"), [(0, 192), (50_000, 192), (100_000, 228), (1_000_000, 406)])
def test_a_larger_graph_is_searched_more_broadly(count: int, candidates: int) -> None:
    assert hnsw.breadth(192, count) == candidates


class TestSnapshots:
    def test_a_torn_snapshot_counts_as_none(self, make_hnsw: Callable[[], HnswIndex], tmp_path: Path) -> None:
        index = make_hnsw()
        index.apply([], _vectors(range(100)), Position(1))
        index.save()
        [path] = (tmp_path / "index").glob("*.hnsw")
        path.write_bytes(path.read_bytes()[:-10])
        assert make_hnsw().position == UNBUILT

    @pytest.mark.parametrize("damage", [lambda file: file[:-1], lambda file: b"\xff" * len(file), None])
    def test_a_damaged_file_of_vectors_counts_as_none(
        self, make_hnsw: Callable[[], HnswIndex], tmp_path: Path, damage: Callable[[bytes], bytes] | None
    ) -> None:
        index = make_hnsw()
        index.apply([], _vectors(range(100)), Position(1))
        index.save()
        [file] = (tmp_path / "index").glob("*.f32")
        file.write_bytes(damage(file.read_bytes())) if damage else file.unlink()
        assert make_hnsw().position == UNBUILT

    def test_a_kill_between_two_snapshots_loses_nothing(self, make_hnsw: Callable[[], HnswIndex]) -> None:
        """What was added after the snapshot is in the file of the vectors already, or the file is another by then."""
        vectors = _vectors(range(5000))
        index = make_hnsw()
        index.apply([], {each: vectors[each] for each in range(2000)}, Position(1))
        index.save()
        changes = [
            (range(50), {each: vectors[each] for each in range(2000, 3000)}, Position(2)),
            (range(50, 2900), {each: vectors[each] for each in range(3000, 5000)}, Position(3)),
        ]
        for change in changes:
            index.apply(*change)
            again = make_hnsw()
            assert again.position == Position(1)
        for change in changes:
            again.apply(*change)
        assert again.ids().tolist() == list(range(2900, 5000))
        np.testing.assert_array_equal(again.vectors(range(2900, 5000)), [vectors[each] for each in range(2900, 5000)])
        again.save()
        assert make_hnsw().count == 2100

    @pytest.mark.parametrize(
        "change",
        [
            {"encoder": "other@2"},
            {"dimension": 17},
            {"format": 99},
            {"files": {}},
            {"files": {"../../x": "0"}},
            {"files": 7},
        ],
    )
    def test_a_foreign_snapshot_counts_as_none(
        self, make_hnsw: Callable[[], HnswIndex], tmp_path: Path, change: dict[str, object]
    ) -> None:
        index = make_hnsw()
        index.apply([], _vectors(range(10)), Position(1))
        index.save()
        sidecar = tmp_path / "index" / "vectors.json"
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | change))
        assert make_hnsw().position == UNBUILT

    @pytest.mark.parametrize("text", ["", "{}", "[1]", "{", '{"format": null}', "\x00"])
    def test_a_damaged_sidecar_counts_as_none(
        self, make_hnsw: Callable[[], HnswIndex], tmp_path: Path, text: str
    ) -> None:
        (tmp_path / "index").mkdir()
        (tmp_path / "index" / "vectors.json").write_text(text)
        assert make_hnsw().position == UNBUILT

    def test_only_the_newest_snapshot_stays(self, make_hnsw: Callable[[], HnswIndex], tmp_path: Path) -> None:
        index = make_hnsw()
        for seq in range(1, 4):
            index.apply([], _vectors(range(seq * 10, seq * 10 + 10)), Position(seq))
            index.save()
        assert sorted(path.suffix for path in (tmp_path / "index").glob("vectors-*")) == [".f32", ".hnsw", ".npy"]
        assert make_hnsw().count == 30

    def test_a_full_disk_adds_nothing(
        self, make_hnsw: Callable[[], HnswIndex], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index, vectors = make_hnsw(), _vectors(range(10))
        index.apply([], _vectors(range(20, 30)), Position(1))

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StorageFull):
            index.apply([20], vectors, Position(2))
        monkeypatch.undo()
        assert (index.position, index.count) == (Position(1), 9)
        index.apply([20], vectors, Position(2))
        assert index.ids().tolist() == [*range(10), *range(21, 30)]
        assert index.search(vectors[3], 1).ids.tolist() == [3]

    def test_a_full_disk_leaves_the_old_snapshot(
        self, make_hnsw: Callable[[], HnswIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """hnswlib does not say that its file was cut short, so we look."""
        index = make_hnsw()
        index.apply([], _vectors(range(10)), Position(1))
        index.save()
        index.apply([], _vectors(range(10, 20)), Position(2))
        short = hnsw.Path.stat

        def stat(path: Path, **options: bool) -> object:
            found = short(path, **options)
            return type("Stat", (), {"st_size": found.st_size - 1}) if path.suffix == ".hnsw" else found

        monkeypatch.setattr(hnsw.Path, "stat", stat)
        with pytest.raises(StorageFull):
            index.save()
        monkeypatch.undo()
        assert len(list((tmp_path / "index").glob("*.hnsw"))) == 1
        assert make_hnsw().position == Position(1)
        index.save()
        assert make_hnsw().position == Position(2)

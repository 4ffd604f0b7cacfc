"""The contract of `LexicalIndex`, and the crash-safety of `Bm25Index`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from keepstone.retrieval.indexes.backends import IndexKey
from keepstone.retrieval.indexes.base import UNBUILT, LexicalIndex, Position
from keepstone.retrieval.indexes.bm25 import Bm25Index
from keepstone.retrieval.indexes.postgres_backend import PostgresBackend
from keepstone.retrieval.indexes.postgres_words import PostgresWords


@pytest.fixture
def make_tantivy(tmp_path: Path) -> Callable[[], Bm25Index]:
    """Open the index in the test's folder, again and again."""
    return lambda: Bm25Index(tmp_path / "words")


@pytest.fixture
def make_postgres(postgres_backend: PostgresBackend) -> Callable[[], PostgresWords]:
    """Open the index in the test's database, again and again."""
    return lambda: postgres_backend.words(IndexKey("col", "hash-16"))


@pytest.fixture(params=["tantivy", pytest.param("postgres", marks=pytest.mark.postgres)])
def make(request: pytest.FixtureRequest) -> Callable[[], LexicalIndex]:
    """Open the same index again and again; each implementation in turn."""
    made: Callable[[], LexicalIndex] = request.getfixturevalue(f"make_{request.param}")
    return made


@pytest.fixture
def index(make: Callable[[], LexicalIndex]) -> LexicalIndex:
    return make()


@pytest.mark.contract
class TestLexicalIndexContract:
    def test_a_new_index_is_unbuilt_and_finds_nothing(self, index: LexicalIndex) -> None:
        assert index.position == index.durable_position == UNBUILT
        assert index.count == 0
        assert len(index.search(["fox"], 10)) == 0
        assert index.ids().tolist() == []
        assert index.scores(["fox"], [1]).tolist() == [0.0]

    def test_rare_terms_count_more_and_all_terms_most(self, index: LexicalIndex) -> None:
        chunks = {1: ["red", "fox"], 2: ["red", "hen"], 3: ["red", "cow"], 4: ["grey", "fox"], 5: ["blue"]}
        index.apply([], chunks, Position(1))
        ranking = index.search(["red", "fox"], 10)
        assert ranking.ids.tolist() == [1, 4, 2, 3]
        assert all(np.diff(ranking.scores) <= 0)
        assert all(ranking.scores > 0)
        assert index.search(["red", "fox"], 2).ids.tolist() == [1, 4]

    def test_equal_scores_come_by_ascending_id(self, index: LexicalIndex) -> None:
        index.apply([], {each: ["fox"] for each in (5, 3, 9, 1)}, Position(1))
        assert index.search(["fox"], 4).ids.tolist() == [1, 3, 5, 9]

    @pytest.mark.parametrize("terms", [[], ["nothing"], ["fox OR"], ["*"], ['"'], ["(", ")"], ["AND", "terms:x"]])
    def test_no_term_is_syntax(self, index: LexicalIndex, terms: list[str]) -> None:
        index.apply([], {1: ["fox"]}, Position(1))
        assert len(index.search(terms, 10)) == 0

    def test_terms_of_any_script(self, index: LexicalIndex) -> None:
        index.apply([], {1: ["滤芯", "更换"], 2: ["हिन्दी"], 3: ["c++", "3.14"]}, Position(1))
        for each, term in enumerate(["更换", "हिन्दी", "3.14"], start=1):
            assert index.search([term], 10).ids.tolist() == [each]

    def test_scores_are_those_of_the_search(self, index: LexicalIndex) -> None:
        index.apply([], {1: ["red", "fox"], 2: ["red"], 3: ["blue"]}, Position(1))
        ranking = index.search(["red", "fox"], 10)
        assert index.scores(["red", "fox"], [2, 3, 77, 1]).tolist() == [ranking.scores[1], 0.0, 0.0, ranking.scores[0]]
        assert index.scores([], [1, 2]).tolist() == [0.0, 0.0]
        assert index.scores(["red"], []).tolist() == []

    def test_removed_chunks_are_never_found(self, index: LexicalIndex) -> None:
        index.apply([], {each: ["fox", str(each)] for each in range(100)}, Position(1))
        index.apply(range(0, 100, 2), {}, Position(2))
        assert index.count == 50
        assert index.ids().tolist() == list(range(1, 100, 2))
        assert index.search(["fox"], 100).ids.tolist() == list(range(1, 100, 2))

    def test_applying_twice_changes_nothing(self, index: LexicalIndex) -> None:
        """After a kill the same changes come again."""
        for _ in range(2):
            index.apply([3, 999], {1: ["fox"], 2: ["fox"]}, Position(1))
        assert index.search(["fox"], 10).ids.tolist() == [1, 2]

    @pytest.mark.parametrize("allowed", [[], [2], [2, 99], [1, 2, 3]])
    def test_only_allowed_ids_are_found(self, index: LexicalIndex, allowed: list[int]) -> None:
        index.apply([], {1: ["fox"], 2: ["fox"], 3: ["hen"]}, Position(1))
        assert index.search(["fox"], 10, allowed=allowed).ids.tolist() == [e for e in allowed if e in (1, 2)]

    def test_what_is_applied_comes_back(self, make: Callable[[], LexicalIndex]) -> None:
        index = make()
        index.apply([], {1: ["fox"], 2: []}, Position(4, "+2:x"))
        index.close()
        again = make()
        assert again.position == Position(4, "+2:x")
        assert again.ids().tolist() == [1, 2]
        again.apply([1], {3: ["fox"]}, Position(5))
        assert again.search(["fox"], 10).ids.tolist() == [3]

    def test_clear_forgets_all(self, make: Callable[[], LexicalIndex]) -> None:
        index = make()
        index.apply([], {1: ["fox"]}, Position(1))
        index.clear()
        assert (index.count, index.position) == (0, UNBUILT)
        index.apply([], {2: ["fox"]}, Position(1))
        assert index.search(["fox"], 10).ids.tolist() == [2]

    def test_a_build_that_was_not_finished_stays_unbuilt(self, make: Callable[[], LexicalIndex]) -> None:
        index = make()
        index.apply([], {1: ["fox"]}, UNBUILT)
        index.close()
        assert make().position == UNBUILT

    def test_searches_run_while_chunks_come_and_go(self, index: LexicalIndex) -> None:
        index.apply([], {each: ["fox"] for each in range(100)}, Position(1))
        failures: list[BaseException] = []
        done = threading.Event()

        def search() -> None:
            try:
                while not done.is_set():
                    found = index.search(["fox"], 200).ids.tolist()
                    assert len(found) == 100
                    index.scores(["fox"], found)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(1, 10):
            old, new = range((turn - 1) * 100, turn * 100), range(turn * 100, (turn + 1) * 100)
            index.apply(old, {each: ["fox"] for each in new}, Position(turn + 1))
        done.set()
        for thread in threads:
            thread.join()
        assert not failures


_DIE_BEFORE_COMMIT = """
import os, sys
from pathlib import Path
from keepstone.retrieval.indexes.base import Position
from keepstone.retrieval.indexes.bm25 import Bm25Index

class Dying(Bm25Index):
    def _add_position(self, writer, position):
        super()._add_position(writer, position)
        if position.seq == 2:
            os._exit(9)

index = Dying(Path(sys.argv[1]))
index.apply([], {1: ["fox"], 2: ["fox"]}, Position(1))
index.apply([1], {3: ["fox"]}, Position(2))
"""


class TestCrashes:
    def test_a_process_that_dies_before_the_commit_leaves_what_was(
        self, make_tantivy: Callable[[], Bm25Index], tmp_path: Path
    ) -> None:
        arguments = [sys.executable, "-c", _DIE_BEFORE_COMMIT, str(tmp_path / "words")]
        environment = {"PYTHONPATH": ":".join(each for each in sys.path if each)}
        died = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        assert died.returncode == 9, died.stderr
        index = make_tantivy()
        assert index.position == Position(1)
        assert index.ids().tolist() == [1, 2]
        index.apply([1], {3: ["fox"]}, Position(2))
        assert index.search(["fox"], 10).ids.tolist() == [2, 3]

    def test_an_error_before_the_commit_does_not_slip_into_the_next_one(
        self, make_tantivy: Callable[[], Bm25Index]
    ) -> None:
        index = make_tantivy()
        index.apply([], {1: ["fox"]}, Position(1))
        with pytest.raises((TypeError, OverflowError, ValueError)):
            index.apply([1], {2: ["fox"], -3: ["fox"]}, Position(2))
        assert index.position == Position(1)
        index.apply([], {4: ["fox"]}, Position(2))
        assert index.ids().tolist() == [1, 4]

    @pytest.mark.parametrize("content", ["", "{", '{"index_settings": 1}'])
    def test_an_unusable_folder_is_begun_anew(
        self, make_tantivy: Callable[[], Bm25Index], tmp_path: Path, content: str
    ) -> None:
        index = make_tantivy()
        index.apply([], {1: ["fox"]}, Position(1))
        index.close()
        (tmp_path / "words" / "meta.json").write_text(content)
        again = make_tantivy()
        assert (again.position, again.count) == (UNBUILT, 0)
        again.apply([], {1: ["fox"]}, Position(1))
        assert again.count == 1

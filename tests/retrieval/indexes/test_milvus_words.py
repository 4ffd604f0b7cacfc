"""Words in Milvus: the contract, and what its limits ask for."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

import pytest

from benchmarks.parts.milvus_lite import MilvusLite
from keepstone.retrieval.indexes import milvus_rows
from keepstone.retrieval.indexes.base import LexicalIndex, Position
from keepstone.retrieval.indexes.milvus_server import MilvusServer
from keepstone.retrieval.indexes.milvus_words import MilvusWords
from tests.retrieval.indexes.test_lexical_index import TestLexicalIndexContract as LexicalIndexContract


@pytest.fixture
def make(milvus: MilvusLite) -> Callable[[], MilvusWords]:
    """Open the index of the test, again and again."""
    server, name = MilvusServer(milvus.url), f"test_{secrets.token_hex(6)}"
    return lambda: MilvusWords(server, name)


@pytest.fixture
def index(make: Callable[[], MilvusWords]) -> MilvusWords:
    return make()


class TestMilvusWords(LexicalIndexContract):
    def test_searches_run_while_chunks_come_and_go(self, index: LexicalIndex) -> None:
        """There are no transactions: for a moment both the old and the new are found, but never neither."""
        index.apply([], {each: ["fox"] for each in range(100)}, Position(1))
        failures: list[BaseException] = []
        done = threading.Event()

        def search() -> None:
            try:
                while not done.is_set():
                    found = index.search(["fox"], 300).ids.tolist()
                    assert len(set(found)) in range(100, 201)
                    index.scores(["fox"], found)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in threads:
            thread.start()
        for turn in range(1, 6):
            old, new = range((turn - 1) * 100, turn * 100), range(turn * 100, (turn + 1) * 100)
            index.apply(old, {each: ["fox"] for each in new}, Position(turn + 1))
        done.set()
        for thread in threads:
            thread.join()
        assert not failures


@pytest.mark.parametrize("allowed", [range(1, 100, 2), [97, 95], range(400), [99, 3, 5000]])
def test_more_allowed_ids_than_a_filter_takes(
    index: MilvusWords, monkeypatch: pytest.MonkeyPatch, allowed: list[int]
) -> None:
    monkeypatch.setattr(milvus_rows, "_LISTED_IDS", 8)
    monkeypatch.setattr(milvus_rows, "MAX_HITS", 32)
    index.apply([], {each: ["fox"] + ["hen"] * each for each in range(100)}, Position(1))
    expected = sorted(set(allowed) & set(range(100)))[:5]
    assert index.search(["fox"], 5, allowed=allowed).ids.tolist() == expected


def test_a_text_that_is_too_long_is_cut(index: MilvusWords) -> None:
    """A field holds 65,535 bytes; the file must not fail for it."""
    index.apply([], {1: [f"t{number}" for number in range(20_000)], 2: ["t19999"]}, Position(1))
    assert index.search(["t7000"], 3).ids.tolist() == [1]
    assert index.search(["t19999"], 3).ids.tolist() == [2]


def test_a_question_of_any_length(index: MilvusWords) -> None:
    index.apply([], {1: ["fox"]}, Position(1))
    assert index.search(["fox"] * 100_000 + [f"t{number}" for number in range(10_000)], 3).ids.tolist() == [1]

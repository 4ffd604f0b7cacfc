"""Where meaning turns, and how often the encoder is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from keepstone.retrieval.chunking import semantic
from keepstone.retrieval.chunking.semantic import Semantic
from keepstone.retrieval.encoder import HashEncoder
from tests.retrieval.chunking.texts import document_of


class _Topics(HashEncoder):
    """Knows nothing but which of some topics a text is about; counts what it was given at once."""

    def __init__(self, *topics: str) -> None:
        super().__init__(len(topics))
        self.topics = topics
        self.given: list[int] = []

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.given.append(len(texts))
        counts = np.array([[text.count(topic) for topic in self.topics] for text in texts], dtype=np.float32)
        unit: NDArray[np.float32] = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        return unit


def _about(topic: str, count: int) -> str:
    return " ".join(f"Sentence {number} is about the {topic}." for number in range(count))


def test_cuts_fall_where_the_topic_changes() -> None:
    text = " ".join([_about("pump", 12), _about("lamp", 9), _about("fuse", 12)])
    chunks = Semantic(400, semantic_percentile=93).split(document_of(text), _Topics("pump", "lamp", "fuse"))
    assert len(chunks) == 3
    for chunk, topic in zip(chunks, ("pump", "lamp", "fuse"), strict=True):
        others = {"pump", "lamp", "fuse"} - {topic}
        assert sum(chunk.text.count(other) for other in others) <= 1, "a place beside the turn is as good"
        assert chunk.text.count(topic) >= 8


def test_text_all_alike_is_cut_by_length_only() -> None:
    [whole] = Semantic(400).split(document_of(_about("pump", 20)), _Topics("pump", "lamp"))
    assert whole.text == _about("pump", 20)


def test_sentences_are_encoded_in_batches_with_the_same_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join([_about("pump", 12), _about("lamp", 9), _about("fuse", 12)])
    at_once, by_few = _Topics("pump", "lamp", "fuse"), _Topics("pump", "lamp", "fuse")
    expected = Semantic(400).split(document_of(text), at_once)
    monkeypatch.setattr(semantic, "_AT_ONCE", 5)
    assert Semantic(400).split(document_of(text), by_few) == expected
    assert (at_once.given, by_few.given) == ([33], [5, 5, 5, 5, 5, 5, 3])

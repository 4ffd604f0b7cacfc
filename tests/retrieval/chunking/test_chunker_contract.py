"""What every chunker promises, whatever it cuts: exact spans, nothing lost, nothing too long, the same every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstone.platform.errors import InvalidInput
from keepstone.platform.settings import ChunkingSettings
from keepstone.retrieval.chunking import CHUNKERS, Chunker, choose, describe, open_chunker
from keepstone.retrieval.chunking.fixed import FixedTokens
from keepstone.retrieval.chunking.parent_child import ParentChild
from keepstone.retrieval.chunking.recursive import Recursive
from keepstone.retrieval.chunking.semantic import Semantic
from keepstone.retrieval.chunking.sentence_window import SentenceWindow
from keepstone.retrieval.chunking.structure import Structure
from keepstone.retrieval.chunking.tokens import TokenCounter
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.types import Page
from tests.retrieval.chunking.texts import TEXTS, document_of

# Chunkers by their names, made for chunks of so many tokens that overlap by so many.
MAKE: dict[str, Callable[[int, int], Chunker]] = {
    "structure": Structure,
    "tokens": FixedTokens,
    "recursive": Recursive,
    "sentence-window": lambda max_tokens, _: SentenceWindow(max_tokens),
    "semantic": lambda max_tokens, _: Semantic(max_tokens, semantic_percentile=60),
    "parent-child": lambda max_tokens, overlap: ParentChild(max_tokens, overlap, parent_tokens=3 * max_tokens),
}
ENCODER = HashEncoder(8)


@pytest.mark.contract
@pytest.mark.parametrize("name", MAKE)
class TestChunker:
    """The contract of `Chunker`."""

    @given(text=TEXTS, max_tokens=st.integers(1, 60), overlap=st.integers(0, 30))
    @settings(max_examples=30)
    def test_chunks_are_exact_complete_ordered_bounded_and_the_same_every_time(
        self, name: str, text: str, max_tokens: int, overlap: int
    ) -> None:
        chunker = MAKE[name](max_tokens, min(overlap, max_tokens // 2))
        chunks = chunker.split(document_of(text), ENCODER)
        assert chunks == chunker.split(document_of(text), ENCODER)
        counter = TokenCounter(text, ENCODER)
        covered = np.zeros(len(text), dtype=bool)
        for ordinal, chunk in enumerate(chunks):
            assert chunk.ordinal == ordinal
            assert chunk.text == text[chunk.start : chunk.end] == chunk.text.strip() != ""
            first, end = counter.before([chunk.start, chunk.end])
            assert end - first <= max_tokens or len(chunk.text) == 1
            covered[chunk.start : chunk.end] = True
            if chunk.wide:
                start, stop = chunk.wide
                assert start <= chunk.start < chunk.end <= stop
                assert text[start:stop] == text[start:stop].strip()
        assert all(covered[i] or text[i].isspace() for i in range(len(text)))
        assert all(before.start < after.start and before.end < after.end for before, after in pairwise(chunks))

    @given(text=TEXTS, max_tokens=st.integers(1, 60))
    @settings(max_examples=10)
    def test_without_overlap_nothing_is_told_twice(self, name: str, text: str, max_tokens: int) -> None:
        chunks = MAKE[name](max_tokens, 0).split(document_of(text), ENCODER)
        assert all(before.end <= after.start for before, after in pairwise(chunks))

    def test_each_chunk_says_where_it_stands(self, name: str) -> None:
        care, repair = "# Care\n\n" + "Clean the pump. " * 9, "# Repair\n\n" + "Call the workshop. " * 9
        text = f"{care}\n\n{repair}"
        pages = (Page(7, 0, len(care)), Page(8, len(care), len(text)))
        document = replace(document_of(text), pages=pages)
        chunks = MAKE[name](6, 0).split(document, ENCODER)
        last = chunks[-1]
        assert (last.page, last.context) == (8, "Manual > Repair")
        assert chunks[0].page == 7
        assert last.indexed_text == f"Manual > Repair\n{last.text}"

    def test_nothing_gives_nothing(self, name: str) -> None:
        assert MAKE[name](40, 0).split(document_of(""), ENCODER) == []
        assert MAKE[name](40, 0).split(document_of(" \n\n "), ENCODER) == []

    def test_a_long_line_takes_time_in_proportion(self, name: str) -> None:
        """A megabyte without a space is one token to some tokenizers; no chunk may be as long as that."""
        chunks = MAKE[name](50, 0).split(document_of("A" * 1_000_000), ENCODER)
        assert max(len(chunk.text) for chunk in chunks) <= 50 * 64


def test_every_chunker_keeps_the_contract() -> None:
    """None is registered without being tested, and each can be chosen."""
    assert set(MAKE) == set(CHUNKERS)
    for name in CHUNKERS:
        chunker = open_chunker(ChunkingSettings(chunker=name), ENCODER)  # type: ignore[arg-type]
        assert describe(chunker).startswith(f"{name}/{chunker.version} max_tokens=200")


def test_sizes_fit_the_encoder() -> None:
    """An encoder that reads less than is set gives shorter chunks, not an error."""
    chosen = ChunkingSettings(max_tokens=4000, overlap_tokens=2000)
    assert open_chunker(chosen, ENCODER) == Structure(max_tokens=512, overlap_tokens=256)


def test_context_can_be_left_out() -> None:
    chunker = open_chunker(ChunkingSettings(context="none"), ENCODER)
    assert [chunk.context for chunk in chunker.split(document_of("# Care\n\nClean it."), ENCODER)] == [""]


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ({"chunkr": "recursive"}, "chunker"),
        ({"chunker": "magic"}, "recursive"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 100, "overlap_tokens": 51}, "at most half"),
    ],
)
def test_a_wrong_choice_names_what_is_right(given: dict[str, object], fix: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        choose(ChunkingSettings(), given)
    assert fix in str(caught.value)


def test_a_choice_may_come_in_words() -> None:
    """The command line has nothing else."""
    chosen = choose(ChunkingSettings(overlap_tokens=20), {"chunker": "recursive", "max_tokens": "300"})
    assert chosen == ChunkingSettings(chunker="recursive", max_tokens=300, overlap_tokens=20)

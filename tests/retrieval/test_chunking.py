"""Chunks are exact, complete, bounded and cut where a reader would cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keepstone.retrieval.chunking import WordOffsets, split
from keepstone.retrieval.chunking.tokens import TokenCounter
from keepstone.retrieval.loaders.markdown import find_headings
from keepstone.retrieval.loaders.writer import close_headings
from keepstone.retrieval.types import Chunk, Document

_WORDS = st.sampled_from(
    [
        *["the", "pump", "must", "be", "cleaned", "daily.", "e.g.", "Dr.", "3.5", "why?"],
        "清洗",
        "水泵。每天！",
        "“好”",
        "、",
        "......",
        "ß\u0301",
    ]
)
_LINE = st.lists(_WORDS, max_size=12).map(" ".join)
_BLOCK = st.one_of(
    _LINE,
    st.tuples(st.integers(1, 6), _LINE).map(lambda pair: "#" * pair[0] + " " + pair[1]),
    st.lists(_LINE, min_size=1, max_size=6).map(lambda lines: "\n".join(f"- {line}" for line in lines)),
    st.lists(_LINE, min_size=2, max_size=6).map(
        lambda lines: "\n".join([f"| {lines[0]} | x |", "| --- | --- |", *(f"| {line} | y |" for line in lines[1:])])
    ),
    st.lists(_LINE, min_size=1, max_size=6).map(lambda lines: "```\n" + "\n".join(lines) + "\n```"),
    st.text(max_size=40),
)
_TEXT = st.lists(_BLOCK, max_size=14).flatmap(
    lambda blocks: st.sampled_from(["\n\n", "\n"]).map(lambda s: s.join(blocks))
)


def _document(text: str, title: str = "Manual") -> Document:
    headings = close_headings(list(find_headings(text)), len(text))
    return Document(text, "text/markdown", "test", title, headings=headings)


def _split(text: str, max_tokens: int = 40, overlap_tokens: int = 0) -> list[Chunk]:
    return split(_document(text), max_tokens=max_tokens, overlap_tokens=overlap_tokens, tokenizer=WordOffsets())


@given(text=_TEXT, max_tokens=st.integers(1, 60), overlap=st.integers(0, 30))
def test_chunks_are_exact_complete_ordered_and_bounded(text: str, max_tokens: int, overlap: int) -> None:
    overlap = min(overlap, max_tokens // 2)
    chunks = _split(text, max_tokens, overlap)
    assert chunks == _split(text, max_tokens, overlap), "not deterministic"
    counter = TokenCounter(text, WordOffsets())
    covered = np.zeros(len(text), dtype=bool)
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert chunk.text == text[chunk.start : chunk.end]
        assert chunk.text == chunk.text.strip() != ""
        first, end = counter.before([chunk.start, chunk.end])
        assert end - first <= max_tokens
        covered[chunk.start : chunk.end] = True
    assert all(covered[i] or text[i].isspace() for i in range(len(text)))
    for before, after in zip(chunks, chunks[1:], strict=False):
        assert before.start < after.start
        if overlap == 0:
            assert before.end <= after.start
        else:
            first, end = counter.before([after.start, before.end])
            assert end - first <= overlap

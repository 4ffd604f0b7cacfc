"""Markdown that nobody would write and that chunkers must cut all the same."""

from __future__ import annotations

from hypothesis import strategies as st

from keepstone.retrieval.loaders.markdown import find_headings
from keepstone.retrieval.loaders.writer import close_headings
from keepstone.retrieval.types import Document

_WORDS = st.sampled_from(
    [
        *["the", "pump", "must", "be", "cleaned", "daily.", "e.g.", "Dr.", "3.5", "why?"],
        "清洗",
        "水泵。每天！",
        "“好”",
        "、",
        "......",
        "ß\u0301",
        "👩‍🔬🎉",
        "x" * 90,
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
    st.integers(60, 100).map("word ".__mul__),
    st.integers(60, 100).map("水泵清洗".__mul__),
    st.text(max_size=40),
)
TEXTS = st.lists(_BLOCK, max_size=14).flatmap(
    lambda blocks: st.sampled_from(["\n\n", "\n"]).map(lambda s: s.join(blocks))
)


def document_of(text: str, title: str = "Manual") -> Document:
    """Return a Markdown text as its loader would, with its headings."""
    headings = close_headings(list(find_headings(text)), len(text))
    return Document(text, "text/markdown", "test", title, headings=headings)

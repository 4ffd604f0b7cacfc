"""Chunks are exact, complete, bounded and cut where a reader would cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.chunking import WordOffsets
from keepstone.retrieval.chunking.breaks import sentences
from keepstone.retrieval.chunking.context import context_of
from keepstone.retrieval.chunking.structure import Structure
from keepstone.retrieval.chunking.tokens import TokenCounter
from keepstone.retrieval.types import Chunk, Document, Page
from tests.retrieval.chunking.texts import TEXTS, document_of


def _split(text: str, max_tokens: int = 40, overlap_tokens: int = 0) -> list[Chunk]:
    return Structure(max_tokens, overlap_tokens).split(document_of(text), WordOffsets())


@given(text=TEXTS, max_tokens=st.integers(1, 60), overlap=st.integers(0, 30))
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
    for before, after in pairwise(chunks):
        assert before.start < after.start
        if overlap == 0:
            assert before.end <= after.start
        else:
            first, end = counter.before([after.start, before.end])
            assert end - first <= overlap


def _sentences(count: int, word: str = "pump") -> str:
    return " ".join(f"This {word} number {number} must be cleaned." for number in range(count))


def test_small_neighbouring_sections_share_a_chunk_under_their_parent() -> None:
    faq = "\n\n".join(f"## Question {number}?\n\nA short answer." for number in range(12))
    chunks = _split(f"# FAQ\n\n{faq}", max_tokens=60)
    assert len(chunks) < 6
    assert all(chunk.text.startswith("#") for chunk in chunks)
    assert {chunk.context for chunk in chunks} == {"Manual > FAQ"}


def test_long_sections_are_never_mixed() -> None:
    text = f"# One\n\n{_sentences(8)}\n\n# Two\n\n{_sentences(8)}"
    chunks = _split(text, max_tokens=90)
    assert [chunk.context for chunk in chunks] == ["Manual > One", "Manual > Two"]
    assert [chunk.text[:5] for chunk in chunks] == ["# One", "# Two"]


def test_a_section_does_not_join_what_stands_outside_its_parent() -> None:
    text = f"# One\n\n{_sentences(8)}\n\n## Tail\n\nShort.\n\n# Two\n\n## Head\n\nBrief.\n\n## Body\n\n{_sentences(8)}"
    for chunk in _split(text, max_tokens=80):
        assert not ("Short." in chunk.text and "Brief." in chunk.text)


def test_heading_without_text_goes_with_the_section_below() -> None:
    chunks = _split(f"# Part\n\n## Chapter\n\n{_sentences(30)}", max_tokens=60)
    assert chunks[0].text.startswith("# Part\n\n## Chapter\n\nThis pump number 0")
    assert all(chunk.context == "Manual > Part > Chapter" for chunk in chunks)


def test_opening_words_go_with_what_follows() -> None:
    chunks = _split(
        f"ACME LTD\n\n# Manual\n\nEdition 2\n\n## Care\n\n{_sentences(6)}\n\n## Repair\n\n{_sentences(20)}", 60
    )
    assert chunks[0].text.startswith("ACME LTD\n\n# Manual\n\nEdition 2\n\n## Care")
    assert chunks[0].context == "Manual > Care"


def test_cuts_fall_between_sentences_and_prefer_paragraphs() -> None:
    text = "\n\n".join(_sentences(4, word) for word in ("pump", "filter", "valve", "motor"))
    chunks = _split(text, max_tokens=70)
    assert [chunk.text for chunk in chunks] == [
        "\n\n".join(_sentences(4, word) for word in pair) for pair in (("pump", "filter"), ("valve", "motor"))
    ]
    for chunk in _split(_sentences(40), max_tokens=50):
        assert chunk.text.startswith("This")
        assert chunk.text.endswith("cleaned.")


def test_chinese_is_cut_between_sentences() -> None:
    text = "".join(f"第{number}台水泵每天必须清洗。" for number in range(40))
    chunks = _split(text, max_tokens=50)
    assert all(chunk.text.startswith("第") and chunk.text.endswith("。") for chunk in chunks)
    assert all(chunk.language == "zh" for chunk in chunks)


@pytest.mark.parametrize(
    "text", ["See e.g. Dr. Foy or Prof. A. B. Smith, No. 5", "It costs approx. 3.5 euro etc. and more"]
)
def test_abbreviations_end_no_sentence(text: str) -> None:
    assert list(sentences(text, 0, len(text))) == []


def test_no_crumb_is_left_at_the_end() -> None:
    sizes = [len(WordOffsets().offsets(chunk.text)) for chunk in _split(_sentences(11), max_tokens=80)]
    assert len(sizes) == 2
    assert min(sizes) > 30


def test_tables_and_code_stay_whole_where_they_fit() -> None:
    table = "| Part | Count |\n| --- | --- |\n" + "\n".join(f"| screw {number} | {number} |" for number in range(6))
    code = "```\n" + "\n\n".join(f"x{number} = {number}" for number in range(6)) + "\n```"
    chunks = _split(f"{_sentences(9)}\n\n{table}\n\n{_sentences(9)}\n\n{code}\n\n{_sentences(3)}", max_tokens=80)
    assert sum(table in chunk.text for chunk in chunks) == 1
    assert sum(code in chunk.text for chunk in chunks) == 1


def test_long_tables_are_cut_between_rows_and_keep_a_row_with_the_header() -> None:
    rows = [f"| screw {number} | {number} |" for number in range(60)]
    chunks = _split("| Part | Count |\n| --- | --- |\n" + "\n".join(rows), max_tokens=60)
    assert "screw 0" in chunks[0].text
    assert all(line.startswith("|") and line.endswith("|") for chunk in chunks for line in chunk.text.split("\n"))


def test_list_stays_with_the_sentence_that_announces_it() -> None:
    items = "\n".join(f"- item {number} is here" for number in range(6))
    chunks = _split(f"{_sentences(6)}\n\nYou need the following:\n\n{items}", max_tokens=60)
    assert next(chunk for chunk in chunks if "item 0" in chunk.text).text.startswith("You need")


def test_overlap_begins_at_a_sentence_and_stays_in_its_section() -> None:
    text = f"# One\n\n{_sentences(20)}\n\n# Two\n\n{_sentences(20, 'valve')}"
    chunks = _split(text, max_tokens=60, overlap_tokens=16)
    for before, after in pairwise(chunks):
        if before.context == after.context:
            assert after.start < before.end
            assert after.text.startswith("This")
        else:
            assert after.start >= before.end


def test_page_of_a_chunk_is_that_of_its_start() -> None:
    text = f"{_sentences(8)}\n\n{_sentences(8)}"
    document = Document(text, "application/pdf", "test", pages=(Page(4, 0, 200), Page(5, 200, len(text))))
    chunks = Structure(max_tokens=60).split(document, WordOffsets())
    assert [chunk.page for chunk in chunks] == [4 if chunk.start < 200 else 5 for chunk in chunks]
    assert {chunk.page for chunk in chunks} == {4, 5}


def test_words_without_end_are_bounded_in_characters() -> None:
    """One unknown token of a megabyte would be one chunk of a megabyte."""
    assert max(len(chunk.text) for chunk in _split("A" * 1_000_000, max_tokens=50)) <= 50 * 64


def test_tokens_that_share_a_character_stay_together() -> None:
    class Bytes:
        def offsets(self, text: str) -> np.ndarray:
            return np.repeat(np.arange(len(text), dtype=np.int64), 4)

    chunks = Structure(max_tokens=2, overlap_tokens=1).split(document_of("\U0001f600" * 5), Bytes())
    assert [chunk.text for chunk in chunks] == ["\U0001f600"] * 5


@pytest.mark.parametrize(
    ("title", "path", "context"),
    [
        ("Manual", ("Care", "Filter"), "Manual > Care > Filter"),
        ("Care", ("CARE", "Filter"), "Care > Filter"),
        ("Duck - Wikipedia", ("Duck", "Food"), "Duck - Wikipedia > Food"),
        ("", ("Care",), "Care"),
        ("Manual", (), "Manual"),
        ("A", ("B",), "A > B"),
    ],
)
def test_context(title: str, path: tuple[str, ...], context: str) -> None:
    assert context_of(title, path) == context


@given(title=st.text(), path=st.lists(st.text(), max_size=8))
def test_context_is_short(title: str, path: list[str]) -> None:
    assert len(WordOffsets().offsets(context_of(title, tuple(path)))) < 400
    long = context_of("Title word " * 30, tuple("Heading number one " * 30 for _ in range(8)))
    assert len(WordOffsets().offsets(long)) <= 40


@pytest.mark.parametrize(("max_tokens", "overlap"), [(0, 0), (40, 21), (40, -1)])
def test_wrong_sizes_name_the_setting(max_tokens: int, overlap: int) -> None:
    with pytest.raises(InvalidInput, match="chunking"):
        _split("text", max_tokens, overlap)


def test_nothing_gives_nothing() -> None:
    assert _split("") == []
    assert _split(" \n\n ") == []

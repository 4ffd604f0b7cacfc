"""Rows of tables: whatever passage a row comes to lie in, the names of its columns lie in it too."""

from __future__ import annotations

import pytest

from keepstone.retrieval.chunking import WordOffsets
from keepstone.retrieval.chunking.structure import Structure
from keepstone.retrieval.loaders import LoadLimits
from keepstone.retrieval.loaders.records import is_header, write_record, write_table
from keepstone.retrieval.loaders.writer import MarkdownWriter
from keepstone.retrieval.types import Document


def _written(rows: list[list[str]]) -> Document:
    writer = MarkdownWriter(LoadLimits().max_text_chars)
    write_table(writer, iter(rows))
    return writer.document(name="a.csv", media_type="text/csv", parser="test", title="a")


def test_a_row_in_the_middle_of_a_long_table_is_found_with_its_names() -> None:
    rows = [["Customer", "City", "Revenue"], *([f"Client{n}", f"Town{n}", str(n * 7)] for n in range(5000))]
    document = _written(rows)
    chunks = Structure(max_tokens=60, overlap_tokens=0).split(document, WordOffsets())
    (chunk,) = (chunk for chunk in chunks if "Client2500;" in chunk.text)
    assert "Customer: Client2500; City: Town2500; Revenue: 17500" in chunk.text


def test_a_short_table_stays_a_table() -> None:
    assert _written([["A", "B"], ["1", "x|y"]]).text == "| A | B |\n| --- | --- |\n| 1 | x\\|y |"


def test_a_row_too_long_for_a_line_gets_a_section() -> None:
    long = ["How?", "Thus. " * 100 + "\n\nAnd so.", "Care"]
    document = _written([["Question", "Answer", "Team"], long, ["Why?", "Because.", ""]])
    assert document.text.startswith("## Question: How?\n\nAnswer: Thus. Thus.")
    assert document.text.endswith("And so.\n\nTeam: Care\n\n- Question: Why?; Answer: Because.")
    assert [heading.title for heading in document.headings] == ["Question: How?"]


def test_lines_above_a_table_and_headers_of_two_rows() -> None:
    rows = [["Report", "", ""], ["", "2025", "2025"], ["Region", "Q1", "Q2"], *([f"R{n}", "1", "2"] for n in range(99))]
    text = _written(rows).text
    assert text.startswith("Report\n\n- Region: R0; 2025 Q1: 1; 2025 Q2: 2\n- Region: R1;")


@pytest.mark.parametrize(
    ("row", "following", "expected"),
    [
        (["Name", "Born"], [["Ada", "1815"]], True),
        (["Country", "2024", "2025"], [["IE", "1", "2"]], True),
        (["", "Born", "City"], [["Ada", "1815", "London"]], True),
        (["Ada", "12/03/1815"], [["Alan", "23/06/1912"]], False),
        (["Ada", "$ 12.50"], [["Alan", "$ 3"]], False),
        (["2024", "2025"], [["1", "2"]], False),
        (["Smith", "Sales"], [["Jones", "Sales"]], False),
        (["Same", "Same"], [["a", "b"]], False),
        (["Only one"], [["a", "b"]], False),
    ],
)
def test_what_is_a_header(row: list[str], following: list[list[str]], expected: bool) -> None:
    assert is_header(row, following) is expected


def test_any_number_of_columns_is_kept() -> None:
    text = _written([[f"c{n}" for n in range(50_000)]]).text
    assert text.startswith("## c0\n\nc1\nc2\n")
    assert text.endswith("c49999")


def test_fields_without_value_are_left_out() -> None:
    writer = MarkdownWriter(1000)
    write_record(writer, [("a", " "), ("b:", "1"), ("", "2")])
    write_record(writer, [("a", "")])
    assert writer.document(name="a", media_type="", parser="").text == "- b: 1; 2"

"""CSV files of every dialect and encoding become rows with the names of their columns."""

from __future__ import annotations

import pytest

from keepstone.platform.errors import LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders import LoadLimits, load
from tests.retrieval.loaders.office_samples import CSV

_TABLE = "| Name | Born | Note |\n| --- | --- | --- |\n| Ada | 1815 | Says: hi; twice |\n| Alan | 1912 |  |"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("name", ["a.csv", "A.TSV", "people.tab"])
def test_delimiter_and_encoding_are_told_from_the_file(encoding: str, name: str) -> None:
    document = load(CSV.encode(encoding), name)
    assert document.text == _TABLE
    assert document.media_type == "text/csv"
    assert document.title == name.rpartition(".")[0]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("a\tb\r\n1\t2,5\r\n", "| 1 | 2,5 |"),
        ("a|b\n1|2\n", "| 1 | 2 |"),
        ("sep=;\na;b\n1,2,3;x\n", "| 1,2,3 | x |"),
        ('a,b\n1,"two\nlines"\n', "| 1 | two lines |"),
        ("a;b\n1,5;2,5\n3,5;4,5\n", "| 1,5 | 2,5 |"),
    ],
)
def test_dialects(text: str, row: str) -> None:
    assert load(text.encode(), "a.csv").text.split("\n")[2] == row


def test_a_file_of_one_column_keeps_its_lines() -> None:
    assert load(b"email\na@example.org\nb@example.org\n", "a.csv").text == "email\na@example.org\nb@example.org"


def test_rows_of_other_lengths_lose_nothing() -> None:
    text = load(b"a,b\n1\n1,2,3\n", "a.csv").text
    assert text == "| a | b |  |\n| --- | --- | --- |\n| 1 |  |  |\n| 1 | 2 | 3 |"


def test_an_open_quote_loses_nothing() -> None:
    assert "last words" in load(b'a,b\n1,"open\n2,x\nlast words', "a.csv").text


def test_other_content_under_this_ending_is_told() -> None:
    assert load(b"<!doctype html><p>page</p>", "a.csv").media_type == "text/html"


def test_caps_and_empty_files() -> None:
    with pytest.raises(LimitExceeded, match="characters"):
        load(b"a,b\n" + b"1,2\n" * 1000, "a.csv", LoadLimits(max_text_chars=2000))
    with pytest.raises(LimitExceeded, match="characters"):  # names are repeated in each row
        load(b"name,value\n" + b"1,2\n" * 1000, "a.csv", LoadLimits(max_text_chars=8000))
    for data in (b"", b"\n\n", b",,,\n,,\n", b'""'):
        with pytest.raises(UnreadableDocument):
            load(data, "a.csv")

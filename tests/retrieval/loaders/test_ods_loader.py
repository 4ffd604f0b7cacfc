"""OpenDocument spreadsheets: what people see of them, with the names of columns, and bounded."""

from __future__ import annotations

import pytest

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders import load
from tests.retrieval.loaders.office_samples import PARTS, saved_book, stored, table_of, table_parts


def _text(sheets: str, styles: str = "") -> str:
    return load(stored(table_parts(sheets, styles)), "a.ods").text


def test_a_sheet_reads_as_the_same_sheet_of_excel_does() -> None:
    from openpyxl import Workbook

    book = Workbook()
    assert book.active is not None
    book.active.title = "Parts"
    for row in PARTS:
        book.active.append(list(row))
    assert _text(table_of(PARTS)) == load(saved_book(book), "a.xlsx").text


def test_hidden_sheets_comments_and_covered_cells_are_left_out() -> None:
    styles = "<style:style style:name='h'><style:table-properties table:display='false'/></style:style>"
    hidden = table_of([["secret"]]).replace("<table:table ", "<table:table table:style-name='h' ")
    noted = table_of([["seen"]]).replace("<text:p>seen", "<annotation><text:p>aside</text:p></annotation><text:p>seen")
    text = _text(hidden + noted, styles)
    assert "seen" in text
    assert "secret" not in text
    assert "aside" not in text
    with pytest.raises(UnreadableDocument, match="hidden"):
        _text(hidden, styles)


def test_merged_and_repeated_cells_keep_each_row_whole() -> None:
    cell = "<table:table-cell{}><text:p>{}</text:p></table:table-cell>"
    rows = [
        cell.format("", "Model") + cell.format("", "Year") + cell.format("", "Price"),
        cell.format(" table:number-rows-spanned='2'", "Corvan") + cell.format("", "2024") + cell.format("", "9"),
        "<table:covered-table-cell/>" + cell.format(" table:number-columns-repeated='2'", "7"),
    ]
    body = "".join(f"<table:table-row>{row}</table:table-row>" for row in rows)
    text = _text(f"<table:table table:name='S'>{body}</table:table>")
    assert text.count("Corvan") == 2
    assert text.count("7") == 2


def test_what_a_few_bytes_repeat_a_million_times_stays_small() -> None:
    cell = "<table:table-cell table:number-columns-repeated='1000000000'><text:p>x</text:p></table:table-cell>"
    row = f"<table:table-row table:number-rows-repeated='1000000000'>{cell}</table:table-row>"
    blank = "<table:table-row table:number-rows-repeated='99999999999999'><table:table-cell/></table:table-row>"
    assert len(_text(f"<table:table>{blank}{row.replace('1000000000', '50')}{blank}</table:table>")) < 100_000
    assert "x" in _text(f"<table:table><table:table-row>{cell}</table:table-row></table:table>")


def test_encrypted_and_damaged_ones_are_told() -> None:
    parts = table_parts(table_of(PARTS))
    manifest = b"<m:manifest xmlns:m='m'><m:file-entry><m:encryption-data/></m:file-entry></m:manifest>"
    with pytest.raises(UnreadableDocument, match="encrypted"):
        load(stored(parts | {"META-INF/manifest.xml": manifest}), "a.ods")
    with pytest.raises(UnreadableDocument, match="damaged"):
        load(stored(parts)[:-30], "a.ods")

"""Workbooks: what people see comes out, with the names of its columns; bombs and entities do not go off."""

from __future__ import annotations

import struct
from datetime import datetime, time

import openpyxl
import pytest

from keepstone.platform.errors import KeepstoneError, LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders import LoadLimits, load, office_zip
from keepstone.retrieval.loaders.xlsx_numbers import spelled
from tests.retrieval.loaders.office_samples import saved_book, sheet_of, sheet_parts, workbook
from tests.retrieval.loaders.samples import zip_of


def _text(rows: str, **parts: str) -> str:
    return load(zip_of(sheet_parts(f"<sheetData>{rows}</sheetData>", **parts)), "a.xlsx").text


def test_sheets_as_people_see_them() -> None:
    document = load(workbook(), "orders 2026.xlsx")
    assert document.text == (
        "# Orders\n\nOrders of the year\n\n| Customer | Day | Amount | Share |\n| --- | --- | --- | --- |\n"
        "| Orion | 2026-03-04 | 1,234.50 EUR | 12.5% |\n| Orion | 2026-03-05 | 70.00 EUR | 50.0% |"
    )
    assert document.title == "orders 2026"
    assert "secret" not in document.text, "a hidden sheet is not for readers"


def test_rows_of_a_long_sheet_carry_their_names() -> None:
    rows = [["Name", "When"], *([f"N{n}", datetime(2026, 1, 1, 8, n % 60)] for n in range(600))]
    lines = load(sheet_of(rows), "a.xlsx").text.splitlines()
    assert lines[2 + 500] == "- Name: N500; When: 2026-01-01 08:20:00"
    assert len(lines) == 602


def test_tables_below_each_other_have_their_own_names() -> None:
    rows = [["Name", "Born"], ["Ada", 1815], [], ["Machine", "Year"], ["ENIAC", 1945], [], ["Zuse Z3", 1941]]
    tables = load(sheet_of(rows), "a.xlsx").text.split("\n\n")[1:]
    assert [table.split("\n")[0] for table in tables] == ["| Name | Born |", "| Machine | Year |", "| Machine | Year |"]


def test_formulas_give_what_was_computed_last() -> None:
    rows = (
        "<row><c><v>2</v></c><c><f>A1*2</f><v>4</v></c><c t='str'><f>A1&amp;1</f><v>21</v></c><c><f>NOW()</f></c></row>"
    )
    assert _text(rows) == "# S\n\n| 2 | 4 | 21 |\n| --- | --- | --- |"
    book = openpyxl.Workbook()
    book.active.append(["=1+1"])
    with pytest.raises(UnreadableDocument, match="no cells with text"):
        load(saved_book(book), "a.xlsx")


def test_strings_of_every_kind() -> None:
    strings = "<si><r><t>bold</t></r><r><t> plain</t></r><rPh><t>ignored</t></rPh></si>"
    cells = (
        "<c t='s'><v>0</v></c><c t='inlineStr'><is><t>inline</t></is></c><c t='b'><v>1</v></c><c t='e'><v>#N/A</v></c>"
    )
    assert _text(f"<row>{cells}</row>", strings=strings) == "# S\n\n| bold plain | inline | TRUE |\n| --- | --- | --- |"


def test_references_to_nowhere_are_left_out() -> None:
    cells = "<c t='s'><v>99</v></c><c t='s'><v>-1</v></c><c s='7'><v>5</v></c><c r='ZZZ1'><v>6</v></c><c r='B1'/>"
    assert _text(f"<row r='1048576'>{cells}</row>") == "# S\n\n5"


@pytest.mark.parametrize(
    ("stored", "number_format", "shown"),
    [
        ("0.30000000000000004", "", "0.3"), ("1234567890123", "General", "1234567890123"), ("1E-3", "", "0.001"),
        ("1234.565", "#,##0.00", "1,234.57"), ("0.125", "0%", "13%"), ("-5", "0.0;(0.0)", "(5.0)"),
        ("7", "00000", "00007"), ("2.50", "0.##", "2.5"), ("2", "0.##", "2"), ("1234567", '#,##0,"k"', "1,235k"),
        ("12", "[$€-407] #,##0.00", "€ 12.00"), ("5", '0.0" kg"', "5.0 kg"), ("12345", "0.00E+00", "1.23E+04"),
        ("-0.001", "0.00", "0.00"), ("0", '0.00;-0.00;"none"', "none"), ("0.5", "# ?/?", "0.5"), ("3", "@", "3"),
        ("46085", "dd/mm/yyyy", "2026-03-04"), ("46085.604167", "m/d/yy h:mm", "2026-03-04 14:30"),
        ("46085", "mmm yyyy", "2026-03"), ("0.604167", "h:mm AM/PM", "14:30"), ("1.5", "[h]:mm", "36:00"),
        ("1", "yyyy-mm-dd", "1900-01-01"), ("59", "d", "1900-02-28"), ("61", "d", "1900-03-01"),
        ("1e300", "yyyy", general := "1e+300"), ("-3", "yyyy", "-3"), ("1e999", "0.00", "1e999"), ("x", "0", "x"),
        ("1e300", "", general), ("nan", "0", "nan"), ("5", ";;;", ""),
        ("5", '"' * 300, ""), ("5", "0" * 300, "0" * 254 + "5"), ("5", '"open"', "open"), ("5", 'General" m"', "5 m"),
    ],
)  # fmt: skip
def test_number_formats(stored: str, number_format: str, shown: str) -> None:
    assert spelled(stored, number_format) == shown


def test_dates_may_count_from_1904() -> None:
    assert spelled("44623", "yyyy-mm-dd", since_1904=True) == "2026-03-04"


def test_times_of_day() -> None:
    assert load(sheet_of([["Start", "End"], [time(8, 30), time(17, 0, 5)]]), "a.xlsx").text.endswith(
        "| 08:30:00 | 17:00:05 |"
    )


@pytest.mark.parametrize("cut", [30, 0.5, 0.95])
def test_a_file_cut_short_is_named(cut: float) -> None:
    whole = workbook()
    with pytest.raises(UnreadableDocument, match="damaged Excel workbook") as caught:
        load(whole[: cut if cut > 1 else int(len(whole) * cut)], "a.xlsx")
    assert caught.value.fix


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office_zip, "_LARGEST_PART", 10_000)
    parts = sheet_parts("") | {"xl/sheet1.xml": b"<worksheet>" + b" " * 20_000 + b"</worksheet>"}
    with pytest.raises(LimitExceeded, match="zip bomb"):
        load(zip_of(parts), "a.xlsx")


def test_parts_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office_zip, "_LARGEST_SUM", 1000)
    parts = sheet_parts("", strings="<si/>" * 100, styles="<cellXfs/>" * 100)
    with pytest.raises(LimitExceeded, match="zip bomb"):
        load(zip_of(parts), "a.xlsx")


@pytest.mark.parametrize("part", ["xl/sheet1.xml", "xl/sharedStrings.xml", "xl/workbook.xml", "xl/styles.xml"])
def test_entities_are_refused(part: str) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;"><!ENTITY p SYSTEM "file:///etc/passwd">]>'
    parts = sheet_parts("<sheetData><row><c><v>1</v></c></row></sheetData>", strings="<si><t>&b;&p;</t></si>")
    parts[part] = bomb + parts[part]
    with pytest.raises(UnreadableDocument, match="document type"):
        load(zip_of(parts), "a.xlsx")


def test_passwords() -> None:
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "EncryptedPackage".encode("utf-16-le")
    with pytest.raises(UnreadableDocument, match="encrypted") as caught:
        load(ole, "a.xlsx")
    assert "password" in (caught.value.fix or "")
    data = bytearray(workbook())
    at = 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:  # the flag in the zip's list of contents
        flags = struct.unpack_from("<H", data, at + 8)[0]
        struct.pack_into("<H", data, at + 8, flags | 1)
        at += 4
    with pytest.raises(UnreadableDocument, match="encrypted"):
        load(bytes(data), "a.xlsx")


def test_parts_that_are_missing_or_nonsense() -> None:
    whole = sheet_parts("<sheetData><row><c><v>1</v></c></row></sheetData>")
    for missing in whole:
        for parts in (
            {name: data for name, data in whole.items() if name != missing}
            | {"xl/workbook.xml": whole["xl/workbook.xml"]},
            whole | {missing: b""},
            whole | {missing: b"\x00\xff<"},
            whole | {missing: b"<a/>"},
        ):
            try:
                assert load(zip_of(parts), "a.xlsx").text
            except KeepstoneError as error:  # without its list of sheets it is a zip like any other
                assert error.fix  # noqa: PT017 - either outcome is right


def test_text_is_capped() -> None:
    with pytest.raises(LimitExceeded, match="characters"):
        load(sheet_of([["Name"], *([f"N{n}"] for n in range(1000))]), "a.xlsx", LoadLimits(max_text_chars=3000))

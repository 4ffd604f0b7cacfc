"""Small workbooks, presentations, books, texts and notebooks, made on the spot."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import openpyxl
import pptx
from openpyxl.workbook import Workbook
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.presentation import Presentation
from pptx.util import Inches

from tests.retrieval.loaders.samples import zip_of

CSV = 'Name;Born;Note\nAda;1815;"Says: hi; twice"\nAlan;1912;\n'
JSON = '{"name": "P-40", "parts": [{"id": 1, "screw": {"size": "M4"}}, {"id": 2}], "tags": ["a", "b"], "none": null}'
RST = """
===========
Pump manual
===========

Clean the :ref:`filter <f>` daily.

Parts
-----

* First

  * Inner
* Second

.. code-block:: sh

   run --now

======  =====
Part    Count
======  =====
Screw   4
======  =====
"""


def workbook() -> bytes:
    """Return a workbook: a titled table with a date, an amount, a share and a merged cell; a hidden sheet."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Orders"
    sheet["A1"] = "Orders of the year"
    sheet.append(["Customer", "Day", "Amount", "Share"])
    sheet.append(["Orion", date(2026, 3, 4), 1234.5, 0.125])
    sheet.append([None, date(2026, 3, 5), 70, 0.5])
    sheet.merge_cells("A3:A4")
    for row in (3, 4):
        sheet.cell(row, 3).number_format = '#,##0.00 "EUR"'
        sheet.cell(row, 4).number_format = "0.0%"
    hidden = book.create_sheet("Salaries")
    hidden["A1"] = "secret"
    hidden.sheet_state = "hidden"
    return saved_book(book)


def saved_book(book: Workbook) -> bytes:
    """Return the bytes of an openpyxl workbook."""
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def sheet_of(rows: Sequence[Sequence[object]]) -> bytes:
    """Return a workbook of one sheet."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(list(row))
    return saved_book(book)


def presentation() -> bytes:
    """Return a presentation: a title slide with notes, one with bullets and a table, one with a chart and no title."""
    deck: Presentation = pptx.Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[0])
    first.shapes.title.text = "Pump manual"
    first.placeholders[1].text = "For the P-40"
    first.notes_slide.notes_text_frame.text = "Say hello."
    second = deck.slides.add_slide(deck.slide_layouts[1])
    second.shapes.title.text = "Care"
    bullets = second.placeholders[1].text_frame
    bullets.text = "Clean the filter"
    inner = bullets.add_paragraph()
    inner.text, inner.level = "daily", 1
    table = second.shapes.add_table(2, 2, Inches(1), Inches(1), Inches(4), Inches(1)).table
    for row, texts in enumerate((("Part", "Count"), ("Screw", "4"))):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    third = deck.slides.add_slide(deck.slide_layouts[6])
    numbers = CategoryChartData()
    numbers.categories = ["2024", "2025"]
    numbers.add_series("Sold", (3, 4.5))
    third.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(1), Inches(1), Inches(4), Inches(3), numbers)
    stream = io.BytesIO()
    deck.save(stream)
    return stream.getvalue()


def _relation(kind: str, target: str) -> bytes:
    return f"<Relationships><Relationship Id='rId1' Type='x/{kind}' Target='{target}'/></Relationships>".encode()


def slide_parts(shapes: str) -> dict[str, bytes]:
    """Return the parts of a presentation with one slide, which holds the given XML."""
    names = 'xmlns:p="p" xmlns:a="a" xmlns:r="r"'
    relation = (
        "<Relationships xmlns='r'><Relationship Id='rId1' Type='x/slide' Target='slides/slide1.xml'/></Relationships>"
    )
    return {
        "ppt/presentation.xml": f"<p:presentation {names}><p:sldIdLst><p:sldId id='256' r:id='rId1'/></p:sldIdLst>"
        "</p:presentation>".encode(),
        "ppt/_rels/presentation.xml.rels": relation,
        "ppt/slides/slide1.xml": f"<p:sld {names}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>".encode(),
    }


def sheet_parts(rows: str, *, strings: str = "", styles: str = "") -> dict[str, bytes]:
    """Return the parts of a workbook with one sheet, whose rows and further parts are the given XML."""
    relation = (
        "<Relationships xmlns='r'><Relationship Id='rId1' Type='x/worksheet' Target='sheet1.xml'/></Relationships>"
    )
    return {
        "xl/workbook.xml": b"<workbook xmlns:r='r'><sheets><sheet name='S' r:id='rId1'/></sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relation,
        "xl/sheet1.xml": f"<worksheet>{rows}</worksheet>".encode(),
        "xl/sharedStrings.xml": f"<sst>{strings}</sst>".encode(),
        "xl/styles.xml": f"<styleSheet>{styles}</styleSheet>".encode(),
    }


def book_parts(chapters: Mapping[str, str], *, labels: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """Return the parts of an EPUB book.

    Args:
        chapters: the bodies of its pages by their names, in reading order.
        labels: what the table of contents calls pages.
    """
    items = "".join(
        f"<item id='{n}' href='text/{n}' media-type='application/xhtml+xml'/>" for n in reversed([*chapters])
    )
    spine = "".join(f"<itemref idref='{name}'/>" for name in chapters)
    points = "".join(
        f"<navPoint><navLabel><text>{label}</text></navLabel><content src='text/{name}#a'/></navPoint>"
        for name, label in (labels or {}).items()
    )
    return {
        "mimetype": b"application/epub+zip",
        "META-INF/container.xml": b"<container><rootfiles><rootfile full-path='OPS/book.opf'/></rootfiles></container>",
        "OPS/book.opf": (
            "<package xmlns:dc='dc'><metadata><dc:title>Pump  manual</dc:title></metadata><manifest>"
            f"<item id='ncx' href='toc.ncx' media-type='application/x-dtbncx+xml'/>{items}</manifest>"
            f"<spine>{spine}</spine></package>"
        ).encode(),
        "OPS/toc.ncx": f"<!DOCTYPE ncx PUBLIC 'x' 'y'><ncx><navMap>{points}</navMap></ncx>".encode(),
    } | {
        f"OPS/text/{name}": f"<html><head><title>t</title></head><body>{body}</body></html>".encode()
        for name, body in chapters.items()
    }


def book() -> bytes:
    """Return a book of two chapters."""
    chapters = {"b.xhtml": "<h1>One</h1><p>First&nbsp;words.</p>", "a.xhtml": "<p>Last words.</p>"}
    return zip_of(book_parts(chapters, labels={"a.xhtml": "Two"}))


def text_parts(body: str) -> dict[str, bytes]:
    """Return the parts of an OpenDocument text, the body of which is the given XML."""
    return {
        "mimetype": b"application/vnd.oasis.opendocument.text",
        "content.xml": (
            "<office:document-content xmlns:office='o' xmlns:text='t' xmlns:table='b' xmlns:style='s' xmlns:draw='d'>"
            "<office:automatic-styles><text:list-style style:name='L1'><text:list-level-style-number text:level='1'/>"
            f"</text:list-style></office:automatic-styles><office:body><office:text>{body}</office:text></office:body>"
            "</office:document-content>"
        ).encode(),
    }


def stored(parts: dict[str, bytes]) -> bytes:
    """Return a zip that begins with its mimetype as plain bytes, as OpenDocument files do."""
    return zip_of(parts, zipfile.ZIP_STORED)


def notebook(cells: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a notebook."""
    metadata = {"kernelspec": {"language": "python"}, "language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def table_parts(sheets: str, styles: str = "") -> dict[str, bytes]:
    """Return the parts of an OpenDocument spreadsheet with the given sheets, as XML."""
    return {
        "mimetype": b"application/vnd.oasis.opendocument.spreadsheet",
        "content.xml": (
            "<office:document-content xmlns:office='o' xmlns:text='t' xmlns:table='b' xmlns:style='s'>"
            f"<office:automatic-styles>{styles}</office:automatic-styles>"
            f"<office:body><office:spreadsheet>{sheets}</office:spreadsheet></office:body></office:document-content>"
        ).encode(),
    }


def table_of(rows: Sequence[Sequence[str]], name: str = "Parts") -> str:
    """Return a sheet of an OpenDocument spreadsheet."""
    cells = ["".join(f"<table:table-cell><text:p>{text}</text:p></table:table-cell>" for text in row) for row in rows]
    body = "".join(f"<table:table-row>{row}</table:table-row>" for row in cells)
    return f"<table:table table:name='{name}'>{body}</table:table>"


PARTS = (("Part", "Price", "Stock"), ("Pump", "40.00", "3"), ("Filter", "7.50", "12"))

"""Tables with ruled lines, by pdfplumber, on the pages where PDFium sees such lines and the work is bounded."""

from __future__ import annotations

import ctypes
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from keepstone.retrieval.loaders.pdf_lines import Line

_THIN = 3.0  # points
_FEWEST_RULES = 3
_MOST_OBJECTS = 4000
_MOST_CELLS = 5000


@dataclass(frozen=True, slots=True)
class Table:
    """A table and its place on the page, in points from the lower left corner."""

    rows: tuple[tuple[str, ...], ...]
    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True, slots=True)
class PageTables:
    """The tables of one page."""

    tables: tuple[Table, ...]

    def at(self, line: Line) -> Table | None:
        """Return the table that a line stands in."""
        x, y = (line.left + line.right) / 2, line.bottom + line.size / 2
        return next((t for t in self.tables if t.left - 2 <= x <= t.right + 2 and t.bottom - 2 <= y <= t.top + 2), None)


def has_ruled_lines(page: pdfium.PdfPage) -> bool:
    """Tell whether a page has enough straight lines for a table, and few enough objects to look for one."""
    if page.get_rotation() or page.get_cropbox()[:2] != (0, 0) or page.get_cropbox() != page.get_mediabox():
        return False
    count = pdfium_c.FPDFPage_CountObjects(page)
    if count > _MOST_OBJECTS:
        return False
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    across = down = 0
    for index in range(count):
        item = pdfium_c.FPDFPage_GetObject(page, index)
        if pdfium_c.FPDFPageObj_GetType(item) != pdfium_c.FPDF_PAGEOBJ_PATH:
            continue
        pdfium_c.FPDFPageObj_GetBounds(item, left, bottom, right, top)
        width, height = right.value - left.value, top.value - bottom.value
        if max(width, height) < 2 * _THIN:
            continue
        # A path may hold one line, the frame of a cell, or a whole grid.
        lines = max(1, pdfium_c.FPDFPath_CountSegments(item) // 4)
        across += lines if width >= _THIN else 0
        down += lines if height >= _THIN else 0
    return across >= _FEWEST_RULES and down >= _FEWEST_RULES


def find_tables(data: bytes, pages: Sequence[int]) -> dict[int, PageTables]:
    """Return the tables on the given pages, counted from 0; pages without any are left out."""
    if not pages:
        return {}
    import pdfplumber

    logging.getLogger("pdfminer").setLevel(logging.ERROR)
    found: dict[int, PageTables] = {}
    try:
        with pdfplumber.open(io.BytesIO(data)) as pdf:
            for number in pages:
                tables = _page_tables(pdf.pages[number])
                if tables:
                    found[number] = PageTables(tuple(tables))
    except Exception:
        return found
    return found


def _page_tables(page: object) -> list[Table]:
    tables: list[Table] = []
    for table in page.find_tables():  # type: ignore[attr-defined]
        if len(table.cells) > _MOST_CELLS:
            continue
        rows = tuple(tuple(cell or "" for cell in row) for row in table.extract())
        filled = sum(bool(cell.strip()) for row in rows for cell in row)
        columns = max(map(len, rows), default=0)
        if len(rows) > 1 and columns > 1 and filled >= 0.3 * len(rows) * columns:
            left, top, right, bottom = table.bbox
            height = float(page.height)  # type: ignore[attr-defined]
            tables.append(Table(rows, left, height - bottom, right, height - top))
    return tables

"""Excel workbooks (.xlsx, .xlsm): each sheet that people see under a heading, its tables with their columns' names.

Values are those that the program computed last; formulas are not evaluated, macros not read. The XML is streamed, so
that a sheet of a million cells needs little memory. Element names are those of ECMA-376, part 1, chapter 18.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from lxml import etree

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, parser_id, shown, stem
from keepstone.retrieval.loaders.detect import XLSX
from keepstone.retrieval.loaders.office_zip import OfficeZip
from keepstone.retrieval.loaders.sheets import WIDEST_MERGE, Range, SheetRow, write_sheet
from keepstone.retrieval.loaders.writer import MarkdownWriter
from keepstone.retrieval.loaders.xlsx_numbers import BUILT_IN, spelled
from keepstone.retrieval.loaders.xml_tree import child, children, local, number, relation_id, value
from keepstone.retrieval.types import Document

_REFERENCE = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})")
_MOST_COLUMNS = 16_384


class XlsxLoader:
    """Reads Excel workbooks."""

    name = "xlsx"
    version = f"1 lxml {etree.__version__}"
    media_types = frozenset({XLSX})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        package = OfficeZip(data, name, what="Excel workbook", program="Excel")
        main = package.targets("").get("officeDocument", "xl/workbook.xml")
        workbook = package.part(main)
        sheets = children(workbook, "sheets")
        if not sheets:
            raise package.damaged("it has no list of sheets")
        related = package.relations(main)
        cells = _Cells(
            package, package.targets(main), since_1904=_is_true(value(child(workbook, "workbookPr"), "date1904"))
        )
        writer = MarkdownWriter(limits.max_text_chars)
        for sheet in sheets:
            relation = related.get(relation_id(sheet))
            # What its author hid is not for readers.
            if relation is not None and relation.kind == "worksheet" and sheet.get("state", "visible") == "visible":
                write_sheet(writer, sheet.get("name", ""), _rows(package, relation.target, cells))
        if writer.is_empty:
            raise UnreadableDocument(
                f"{shown(name)} has no cells with text", fix="Check that the sheets with the data are not hidden"
            )
        title = package.title() or stem(name)
        return writer.document(name=name, media_type=XLSX, parser=parser_id(self), title=title)


class _Cells:
    """The texts of cells: strings that they share, numbers by their formats."""

    def __init__(self, package: OfficeZip, parts: dict[str, str], *, since_1904: bool) -> None:
        path = parts.get("sharedStrings", "xl/sharedStrings.xml")
        self._strings = [_string(element) for element in package.elements(path, "si")]
        self._since_1904 = since_1904
        styles = package.part(parts.get("styles", "xl/styles.xml"))
        own = {number(one.get("numFmtId"), -1): one.get("formatCode", "") for one in children(styles, "numFmts")}
        formats = (number(one.get("numFmtId"), 0) for one in children(styles, "cellXfs"))
        self._formats = [own.get(identity, BUILT_IN.get(identity, "")) for identity in formats]

    def text(self, cell: etree._Element) -> str:
        """Return what a cell shows; nothing for errors."""
        kind = cell.get("t", "n")
        if kind == "inlineStr":
            return _string(child(cell, "is"))
        found = child(cell, "v")
        text = (found.text or "").strip() if found is not None else ""
        if kind == "s":
            index = number(text, -1)
            return self._strings[index] if 0 <= index < len(self._strings) else ""
        if kind == "b":
            return "TRUE" if _is_true(text) else "FALSE"
        if kind != "n" or not text:
            return "" if kind == "e" else text
        style = number(cell.get("s"), 0)
        number_format = self._formats[style] if 0 <= style < len(self._formats) else ""
        return spelled(text, number_format, since_1904=self._since_1904)


def _rows(package: OfficeZip, path: str, cells: _Cells) -> Iterator[SheetRow]:
    merged = _merged(package, path)
    at = 0
    for row in package.elements(path, "row"):
        at = number(row.get("r"), at + 1)
        yield SheetRow(at, _texts(row, cells), merged.get(at, ()))


def _texts(row: etree._Element, cells: _Cells) -> dict[int, str]:
    """Return the texts of a row's cells by their columns."""
    found: dict[int, str] = {}
    column = -1
    for cell in row:
        if local(cell) == "c":
            reference = _REFERENCE.match(cell.get("r", ""))
            column = _column(reference[1]) if reference else column + 1
            text = cells.text(cell) if column < _MOST_COLUMNS else ""
            if text.strip():
                found[column] = text
    return found


def _merged(package: OfficeZip, path: str) -> dict[int, list[Range]]:
    """Return the merged ranges by their first rows."""
    found: dict[int, list[Range]] = defaultdict(list)
    for element in package.elements(path, "row", "mergeCell"):
        corners = _REFERENCE.findall(element.get("ref", "")) if local(element) == "mergeCell" else ()
        if len(corners) == 2:
            first, last = (_column(letters) for letters, _ in corners)
            found[int(corners[0][1])].append(Range(first, min(last, first + WIDEST_MERGE), int(corners[1][1])))
    return found


def _column(letters: str) -> int:
    """Return 0 for A."""
    index = 0
    for letter in letters:
        index = index * 26 + ord(letter) - 64
    return index - 1


def _string(element: etree._Element | None) -> str:
    """Return a string of one or more runs, without the reading aids of Japanese ones."""
    if element is None:
        return ""
    return "".join(text.text or "" for text in element.iter("{*}t") if local(text.getparent()) != "rPh")


def _is_true(text: str | None) -> bool:
    return text in {"1", "true"}

"""OpenDocument spreadsheets (.ods), as LibreOffice writes them: each sheet that people see, under its name.

A cell is what it shows; formulas are not evaluated. The XML is streamed. Element names are those of OpenDocument 1.3,
part 3, chapter 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from lxml import etree

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, parser_id, shown, stem
from keepstone.retrieval.loaders.detect import ODS
from keepstone.retrieval.loaders.odt import inline_text, open_package, title_of
from keepstone.retrieval.loaders.office_zip import OfficeZip
from keepstone.retrieval.loaders.sheets import WIDEST_MERGE, Range, SheetRow, write_sheet
from keepstone.retrieval.loaders.writer import MarkdownWriter
from keepstone.retrieval.loaders.xml_tree import child, local, number, value
from keepstone.retrieval.types import Document

_MOST_COLUMNS = 16_384
# A few bytes can say that a row with text is repeated a million times.
_MOST_REPEATED = 1000


class OdsLoader:
    """Reads OpenDocument spreadsheets."""

    name = "ods"
    version = f"1 lxml {etree.__version__}"
    media_types = frozenset({ODS})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        package = open_package(data, name, "OpenDocument spreadsheet")
        writer = MarkdownWriter(limits.max_text_chars)
        for table, rows in groupby(_visible_rows(package), key=lambda row: row[0]):
            write_sheet(writer, value(table, "name") or "", _rows(row for _, row in rows))
        if writer.is_empty:
            raise UnreadableDocument(
                f"{shown(name)} has no cells with text", fix="Check that the sheets with the data are not hidden"
            )
        title = title_of(package) or stem(name)
        return writer.document(name=name, media_type=ODS, parser=parser_id(self), title=title)


def _visible_rows(package: OfficeZip) -> Iterator[tuple[etree._Element, etree._Element]]:
    """Yield the rows of all sheets that their author did not hide, each with its sheet."""
    hidden: set[str | None] = set()
    for element in package.elements("content.xml", "style", "table-row"):
        if local(element) == "style":
            if value(child(element, "table-properties"), "display") == "false":
                hidden.add(value(element, "name"))
            continue
        table = next(element.iterancestors("{*}table"), None)
        if table is not None and value(table, "style-name") not in hidden:
            yield table, element


def _rows(elements: Iterable[etree._Element]) -> Iterator[SheetRow]:
    at = 1
    for element in elements:
        row = _row(element, at)
        repeated = _repeated(element, "number-rows-repeated")
        if row.texts:
            yield row
            for step in range(1, min(repeated, _MOST_REPEATED)):
                yield SheetRow(at + step, row.texts)
        at += repeated


def _row(element: etree._Element, at: int) -> SheetRow:
    texts: dict[int, str] = {}
    merged: list[Range] = []
    column = 0
    for cell in element:
        kind = local(cell)
        if kind not in {"table-cell", "covered-table-cell"} or column >= _MOST_COLUMNS:
            continue
        text = "\n".join(inline_text(each) for each in cell if local(each) == "p") if kind == "table-cell" else ""
        repeated = _repeated(cell, "number-columns-repeated")
        if text.strip():
            texts.update(dict.fromkeys(range(column, min(column + min(repeated, _MOST_REPEATED), _MOST_COLUMNS)), text))
            wide, high = _repeated(cell, "number-columns-spanned"), _repeated(cell, "number-rows-spanned")
            if wide > 1 or high > 1:
                merged.append(Range(column, column + min(wide - 1, WIDEST_MERGE), at + high - 1))
        column += repeated
    return SheetRow(at, texts, merged)


def _repeated(element: etree._Element, name: str) -> int:
    return max(number(value(element, name), 1), 1)

"""Walks an HTML tree and writes its headings, paragraphs, lists, tables and code as Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lxml import etree

from keepstone.retrieval.loaders.writer import MarkdownWriter

_SPACES = re.compile(r"[ \t\r\n\f\u00a0]+")
_HEADING = re.compile(r"h([1-6])$")
_LANGUAGE = re.compile(r"(?:language|lang|highlight)-(\w+)")
_BLOCK_NAMES = """
    address article blockquote body caption center dd details dialog div dl dt fieldset figcaption figure footer form
    header hgroup hr html legend li main ol p section summary table tbody td tfoot th thead tr ul
"""
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_MOST_COLUMNS, _MOST_ROWS = 100, 1000


@dataclass(slots=True)
class _Table:
    """A table while its cells come in; rows with spans are filled up at the end."""

    element: etree._Element
    rows: list[list[tuple[str, int, int]]] = field(default_factory=list)

    def grid(self) -> list[list[str]]:
        """Return the cells' texts; what spans rows is repeated in each, so that every row can be understood alone."""
        grid: list[list[str]] = []
        hanging: dict[int, tuple[str, int]] = {}
        for row in self.rows:
            cells: list[str] = []
            waiting = iter(row)
            cell = next(waiting, None)
            while cell is not None or len(cells) in hanging:
                column = len(cells)
                if column >= _MOST_COLUMNS * 10:
                    break
                if column in hanging:
                    text, left = hanging.pop(column)
                    cells.append(text)
                    if left > 1:
                        hanging[column] = (text, left - 1)
                    continue
                assert cell is not None
                text, columns, rows = cell
                for offset in range(columns):
                    if column + offset in hanging:
                        break
                    cells.append(text if offset == 0 else "")
                    if rows > 1:
                        hanging[column + offset] = (text if offset == 0 else "", rows - 1)
                cell = next(waiting, None)
            grid.append(cells)
        return grid


class _Walk:
    """The state of one pass: the text of the block that is open, lists, and the table that is being read."""

    def __init__(self, writer: MarkdownWriter) -> None:
        self._writer = writer
        self._text: list[str] = []
        self._heading = 0
        self._lists: list[int | None] = []  # of each open list: the next number, None for bullets
        self._marker = ""
        self._table: _Table | None = None
        self._cell: list[str] = []

    def add(self, text: str | None) -> None:
        if text:
            self._text.append(_SPACES.sub(" ", text))

    def enter(self, element: etree._Element) -> bool:
        """Open an element; return whether its inside is to be walked."""
        tag = element.tag
        heading = _HEADING.match(tag)
        if tag == "br":
            self._text.append("\n")
        elif tag == "img":
            self.add(element.get("alt"))
        elif tag == "pre":
            self._code(element)
            return False
        elif heading:
            self._flush()
            self._heading = int(heading[1])
        elif tag in _BLOCKS:
            self._flush()
            self._enter_block(element, tag)
        return True

    def leave(self, element: etree._Element) -> None:
        tag = element.tag
        if _HEADING.match(tag):
            self._flush()
            self._heading = 0
        elif tag in _BLOCKS:
            self._flush()
            self._leave_block(element, tag)
        elif tag in {"td", "th"}:
            self._flush()

    def finish(self) -> None:
        self._flush()

    def _enter_block(self, element: etree._Element, tag: str) -> None:
        if tag in {"ul", "ol"}:
            start = element.get("start", "1")
            self._lists.append(
                int(start) if tag == "ol" and start.isdecimal() and len(start) < 6 else (1 if tag == "ol" else None)
            )
        elif tag == "li":
            number = self._lists[-1] if self._lists else None
            self._marker = "-" if number is None else f"{number}."
            if number is not None:
                self._lists[-1] = number + 1
        elif tag == "table" and self._table is None and _holds_data(element):
            self._table = _Table(element)
        elif tag == "tr" and self._table is not None:
            self._table.rows.append([])

    def _leave_block(self, element: etree._Element, tag: str) -> None:
        if tag in {"ul", "ol"} and self._lists:
            self._lists.pop()
            if not self._lists:
                self._writer.end_list()
        elif tag == "li":
            self._marker = ""
        elif self._table is not None and tag in {"td", "th"}:
            if not self._table.rows:
                self._table.rows.append([])
            columns, rows = _span(element, "colspan", _MOST_COLUMNS), _span(element, "rowspan", _MOST_ROWS)
            self._table.rows[-1].append((" ".join(self._cell), columns, rows))
            self._cell = []
        elif self._table is not None and element is self._table.element:
            self._writer.table(self._table.grid())
            self._table = None

    def _flush(self) -> None:
        text = "".join(self._text).strip()
        self._text = []
        if not text:
            return
        if self._table is not None and not self._in_caption_of_table():
            self._cell.append(text)
        elif self._heading:
            self._writer.heading(self._heading, text)
        elif self._lists:
            depth = len(self._lists) - 1
            if self._marker:
                self._writer.item(text, depth=depth, marker=self._marker)
                self._marker = ""
            else:
                self._writer.item_paragraph(text, depth=depth)
        else:
            self._writer.paragraph(text)

    def _in_caption_of_table(self) -> bool:
        return self._table is not None and not self._table.rows

    def _code(self, element: etree._Element) -> None:
        self._flush()
        for line_break in element.iter("br"):
            line_break.tail = "\n" + (line_break.tail or "")
        text = "".join(element.itertext())
        if self._table is not None:
            self._cell.append(" ".join(text.split()))
            return
        inner = element.find(".//code")
        names = f"{element.get('class', '')} {'' if inner is None else inner.get('class', '')}"
        language = _LANGUAGE.search(names)
        self._writer.code(text, language[1] if language else "")


def write_markdown(root: etree._Element, writer: MarkdownWriter) -> None:
    """Write what is in `root`."""
    walk = _Walk(writer)
    events = etree.iterwalk(root, events=("start", "end"))
    skipped: etree._Element | None = None
    for event, element in events:
        if not isinstance(element.tag, str):
            if event == "end" and element is not root:
                walk.add(element.tail)
            continue
        if event == "start":
            if walk.enter(element):
                walk.add(element.text)
            else:
                skipped = element
                events.skip_subtree()
        else:
            if element is skipped:
                skipped = None
            else:
                walk.leave(element)
            if element is not root:
                walk.add(element.tail)
    walk.finish()


def _holds_data(table: etree._Element) -> bool:
    """Tell a table of data from one that only arranges a page: no tables, headings or long texts in its cells."""
    if next(table.iterdescendants("table", "h1", "h2", "h3", "h4", "pre"), None) is not None:
        return False
    rows = 0
    for row in table.iterdescendants("tr"):
        rows += 1
        if sum(1 for _ in row.iterchildren("td", "th")) > 1:
            return True
    return rows > 1


def _span(cell: etree._Element, name: str, most: int) -> int:
    value = cell.get(name, "1").strip()
    return min(max(int(value), 1), most) if value.isdecimal() and len(value) < 7 else 1

"""Word documents (.docx): headings with their numbers, lists, tables, notes; pages where Word recorded them.

The XML is read directly, with lxml, because what search needs is what converters drop: numbers of headings, text
boxes, formulas, page breaks, insertions; and because a hostile file meets one small reader instead of two libraries.
Element names are those of ECMA-376, part 1, chapter 17.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, parser_id, shown
from keepstone.retrieval.loaders.detect import DOCX
from keepstone.retrieval.loaders.docx_numbering import Numbering
from keepstone.retrieval.loaders.docx_text import is_bold_line, paragraph_text
from keepstone.retrieval.loaders.office_zip import OfficeZip
from keepstone.retrieval.loaders.writer import MarkdownWriter, one_line
from keepstone.retrieval.loaders.xml_tree import child, local, number, value
from keepstone.retrieval.types import Document

_HEADING_NAME = re.compile(r"(?:heading|标题|標題|überschrift|titre)\s*([1-9])$", re.IGNORECASE)
_CODE_STYLES = frozenset({"code", "source code", "html preformatted", "preformatted text", "listing", "code block"})
_WRAPPERS = frozenset({"ins", "moveTo", "smartTag", "customXml", "sdtContent"})
_MOST_COLUMNS = 100
_DEEPEST_TABLE = 4


class DocxLoader:
    """Reads Word documents."""

    name = "docx"
    version = f"1 lxml {etree.__version__}"
    media_types = frozenset({DOCX})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        package = OfficeZip(data, name, what="Word document", program="Word")
        main = package.targets("").get("officeDocument", "word/document.xml")
        document = package.part(main)
        body = child(document, "body")
        if body is None:
            raise package.damaged("it has no text part")
        related = package.targets(main)
        writer = MarkdownWriter(limits.max_text_chars)
        reader = _BodyReader(
            writer,
            _Styles(package.part(related.get("styles", "word/styles.xml"))),
            Numbering(package.part(related.get("numbering", "word/numbering.xml"))),
            {
                kind: _notes(package.part(related.get(f"{kind}s", f"word/{kind}s.xml")))
                for kind in ("footnote", "endnote")
            },
        )
        reader.read(body)
        if writer.is_empty:
            raise UnreadableDocument(
                f"{shown(name)} contains no text",
                fix="If it holds scanned pages, save it as PDF and run text recognition (OCR), such as `ocrmypdf`",
            )
        title = reader.title or package.title()
        return writer.document(name=name, media_type=DOCX, parser=parser_id(self), title=title)


class _Styles:
    """The outline level and the numbering that each paragraph style gives."""

    def __init__(self, root: etree._Element | None) -> None:
        self._styles = {
            value(style, "styleId") or "": style
            for style in (root if root is not None else ())
            if local(style) == "style" and value(style, "type") == "paragraph"
        }

    def is_title(self, style: str | None) -> bool:
        """Tell whether a style is for the document's title."""
        found = self._styles.get(style or "")
        return found is not None and (value(child(found, "name")) or "").lower() in {"title", "标题", "標題"}

    def is_code(self, style: str | None) -> bool:
        """Tell whether a style is for program text."""
        found = self._styles.get(style or "")
        return found is not None and (value(child(found, "name")) or "").lower() in _CODE_STYLES

    def heading_level(self, style: str | None) -> int | None:
        """Return 1 for the outermost, None for what is no heading."""
        for element in self._ancestry(style):
            named = _HEADING_NAME.match(value(child(element, "name")) or "")
            if named:
                return int(named[1])
            outline = value(child(element, "pPr", "outlineLvl"))
            if outline is not None:
                level = number(outline, 9)
                return level + 1 if 0 <= level < 9 else None
        return None

    def numbering(self, style: str | None) -> tuple[str | None, str | None]:
        """Return the list and the level that a style puts its paragraphs into."""
        identity = level = None
        for element in self._ancestry(style):
            properties = child(element, "pPr", "numPr")
            identity = identity or value(child(properties, "numId"))
            level = level or value(child(properties, "ilvl"))
        return identity, level

    def _ancestry(self, style: str | None) -> Iterator[etree._Element]:
        """Yield a style and those it is based on."""
        for _ in range(20):  # a hostile file may base two styles on each other
            element = self._styles.get(style or "")
            if element is None:
                return
            yield element
            style = value(child(element, "basedOn"))


class _BodyReader:
    """Writes the blocks of a document in order."""

    def __init__(
        self, writer: MarkdownWriter, styles: _Styles, numbering: Numbering, notes: dict[str, dict[str, str]]
    ) -> None:
        self._writer = writer
        self._styles = styles
        self._numbering = numbering
        self._notes = notes
        self._page = 0
        self._note_count = 0
        self._fence: list[str] = []
        self._guess_headings = False
        self.title = ""

    def read(self, body: etree._Element) -> None:
        """Write all of a document's body."""
        self._guess_headings = not any(self._level_of(element) for element in body.iterchildren("{*}p"))
        # Word records the pages of its last layout; explicit breaks alone would give wrong numbers.
        if next(body.iter("{*}lastRenderedPageBreak"), None) is not None:
            self._next_page()
        self._blocks(body)
        self._end_code()

    def _blocks(self, parent: etree._Element) -> None:
        for element in parent:
            kind = local(element)
            if kind == "p":
                self._paragraph(element)
            elif kind == "tbl":
                self._end_code()
                self._table(element)
            elif kind == "sdt":
                content = child(element, "sdtContent")
                if content is not None:
                    self._blocks(content)
            elif kind in _WRAPPERS:
                self._blocks(element)

    def _paragraph(self, element: etree._Element) -> None:
        text = paragraph_text(element)
        if self._page:
            for _ in range(text.pages_before):
                self._next_page()
        self._write(element, text.text)
        for kind, identity in text.notes:
            note = self._notes[kind].get(identity)
            if note:
                self._note_count += 1
                self._writer.paragraph(f"[^{self._note_count}]: {note}")
        for box in text.boxes:
            self._blocks(box)
        if self._page:
            for _ in range(text.pages_inside):
                self._next_page()

    def _write(self, element: etree._Element, text: str) -> None:
        properties = child(element, "pPr")
        style = value(child(properties, "pStyle"))
        if self._styles.is_code(style):
            self._fence.append(text)
            return
        self._end_code()
        identity, depth = self._list_of(properties, style)
        label = self._numbering.next_label(identity, depth) if identity and text.strip() else ""
        level = self._level_of(element)
        if level is None and self._guess_headings and not identity and is_bold_line(element, text):
            level = 2
        if self._styles.is_title(style) and not self.title:
            self.title = one_line(text)
            self._writer.heading(1, text)
        elif level is not None:
            self._writer.heading(level + bool(self.title), f"{label} {text}" if label else text)
        elif identity and self._numbering.is_bullet(identity, depth):
            self._writer.item(text, depth=depth)
        elif identity and label:
            self._writer.item(text, depth=depth, marker=label)
        else:
            self._writer.paragraph(text)

    def _end_code(self) -> None:
        self._writer.code("\n".join(self._fence))
        self._fence = []

    def _level_of(self, paragraph: etree._Element) -> int | None:
        """Return the outline level of a paragraph, 1 for the outermost, None for text."""
        properties = child(paragraph, "pPr")
        own = value(child(properties, "outlineLvl"))
        if own is not None:
            level = number(own, 9)
            return level + 1 if 0 <= level < 9 else None
        return self._styles.heading_level(value(child(properties, "pStyle")))

    def _list_of(self, properties: etree._Element | None, style: str | None) -> tuple[str | None, int]:
        """Return the numbering list and level of a paragraph; "0" is Word's way to take it out of the style's list."""
        own = child(properties, "numPr")
        identity, level = value(child(own, "numId")), value(child(own, "ilvl"))
        if identity is None:
            identity, style_level = self._styles.numbering(style)
            level = level or style_level
        if identity is None or identity == "0":
            return None, 0
        return identity, min(max(number(level, 0), 0), 8)

    def _table(self, table: etree._Element) -> None:
        rows = _rows(table)
        if len(rows) == 1 and len(rows[0]) == 1:  # a frame around text rather than a table
            self._blocks(rows[0][0])
            return
        pages = sum(1 for _ in table.iter("{*}lastRenderedPageBreak")) if self._page else 0
        self._writer.table(_grid(rows))
        for _ in range(pages):
            self._next_page()

    def _next_page(self) -> None:
        self._page += 1
        self._writer.page(self._page)


def _rows(table: etree._Element) -> list[list[etree._Element]]:
    """Return the cells of every row that is not deleted."""
    return [list(_through(row, "tc")) for row in _through(table, "tr") if child(row, "trPr", "del") is None]


def _through(parent: etree._Element, wanted: str) -> Iterator[etree._Element]:
    """Yield children of a name, also from within content controls and change marks."""
    for element in parent:
        kind = local(element)
        if kind == wanted:
            yield element
        elif kind == "sdt" or kind in _WRAPPERS:
            yield from _through(element, wanted)


def _grid(rows: list[list[etree._Element]]) -> list[list[str]]:
    """Return the texts of cells; what is merged over rows is repeated, so that every row can be understood alone."""
    grid: list[list[str]] = []
    for row in rows:
        texts: list[str] = []
        for cell in row:
            properties = child(cell, "tcPr")
            merged = child(properties, "vMerge")
            column = len(texts)
            if merged is not None and value(merged) != "restart" and grid and column < len(grid[-1]):
                text = grid[-1][column]
            else:
                text = _cell_text(cell, 0)
            texts.append(text)
            texts.extend([""] * (min(max(number(value(child(properties, "gridSpan")), 1), 1), _MOST_COLUMNS) - 1))
        grid.append(texts[: _MOST_COLUMNS * 4])
    return grid


def _cell_text(cell: etree._Element, depth: int) -> str:
    parts: list[str] = []
    for element in cell:
        kind = local(element)
        if kind == "p":
            parts.append(paragraph_text(element).text)
        elif kind == "tbl" and depth < _DEEPEST_TABLE:
            parts.extend(_cell_text(inner, depth + 1) for row in _rows(element) for inner in row)
        elif kind == "sdt" or kind in _WRAPPERS:
            parts.append(_cell_text(element, depth))
    return " ".join(part for part in parts if part.strip())


def _notes(root: etree._Element | None) -> dict[str, str]:
    """Return the text of every footnote or endnote by its id, without Word's separators."""
    return {
        value(note, "id") or "": " ".join(paragraph_text(p).text.strip() for p in note.iter("{*}p")).strip()
        for note in (root if root is not None else ())
        if value(note, "type") in {None, "normal"}
    }

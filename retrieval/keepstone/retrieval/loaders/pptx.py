"""PowerPoint presentations (.pptx): each slide is a page under its title, with lists, tables, charts and notes.

Shapes come in the order in which a screen reader reads them. Element names are those of ECMA-376, part 1, chapters
19 and 21.
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, parser_id, shown, stem
from keepstone.retrieval.loaders.detect import PPTX
from keepstone.retrieval.loaders.office_zip import OfficeZip
from keepstone.retrieval.loaders.pptx_text import chart_rows, paragraphs, shape_text
from keepstone.retrieval.loaders.writer import MarkdownWriter, one_line
from keepstone.retrieval.loaders.xml_tree import child, children, local, relation_id, value
from keepstone.retrieval.types import Document

_TITLES = frozenset({"title", "ctrTitle"})
_FURNITURE = frozenset({"dt", "ftr", "hdr", "sldNum", "sldImg"})
_MOST_COLUMNS = 100


class PptxLoader:
    """Reads PowerPoint presentations."""

    name = "pptx"
    version = f"1 lxml {etree.__version__}"
    media_types = frozenset({PPTX})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        package = OfficeZip(data, name, what="PowerPoint presentation", program="PowerPoint")
        main = package.targets("").get("officeDocument", "ppt/presentation.xml")
        presentation = package.part(main)
        if presentation is None:
            raise package.damaged("it has no list of slides")
        related = package.relations(main)
        writer = MarkdownWriter(limits.max_text_chars)
        title, has_text = "", False
        for position, entry in enumerate(children(presentation, "sldIdLst"), start=1):
            relation = related.get(relation_id(entry))
            slide = _Slide(package, relation.target) if relation is not None else None
            if slide is None or slide.is_missing:
                continue
            title = title or slide.title
            has_text = slide.write(writer, position) or has_text
        if not has_text:
            raise UnreadableDocument(
                f"{shown(name)} contains no text",
                fix="If its slides are pictures, save it as PDF and run text recognition (OCR), such as `ocrmypdf`",
            )
        return writer.document(name=name, media_type=PPTX, parser=parser_id(self), title=title or stem(name))


class _Slide:
    """One slide and what hangs on it."""

    def __init__(self, package: OfficeZip, path: str) -> None:
        self._package = package
        self._related = package.relations(path)
        root = package.part(path)
        self.is_missing = root is None
        self._shapes = list(_shapes(root))
        titles = [shape for shape in self._shapes if _placeholder(shape) in _TITLES]
        self._title = next((shape for shape in titles if shape_text(shape)), None)
        self.title = one_line(shape_text(self._title)) if self._title is not None else ""

    def write(self, writer: MarkdownWriter, number: int) -> bool:
        """Write all of the slide; return whether there was anything but its number."""
        writer.page(number)
        writer.heading(1, self.title or f"Slide {number}")
        before = writer.length
        for shape in self._shapes:
            if shape is not self._title and _placeholder(shape) not in _FURNITURE:
                self._write_shape(writer, shape)
        notes = self._notes()
        if notes:
            writer.paragraph(f"Notes: {notes}")
        return bool(self.title) or writer.length > before

    def _write_shape(self, writer: MarkdownWriter, shape: etree._Element) -> None:
        writer.end_list()
        if local(shape) == "graphicFrame":
            self._write_graphic(writer, shape)
            return
        found = list(paragraphs(child(shape, "txBody"), listed=_placeholder(shape) in {"body", "obj", "subTitle"}))
        alone = len(found) == 1
        for paragraph in found:
            if paragraph.marker and not alone:
                writer.item(paragraph.text, depth=paragraph.depth, marker=paragraph.marker)
            else:
                writer.paragraph(paragraph.text)

    def _write_graphic(self, writer: MarkdownWriter, frame: etree._Element) -> None:
        """Write a table, a chart's numbers, or the words of a diagram."""
        for element in children(frame, "graphic", "graphicData"):
            kind = local(element)
            if kind == "tbl":
                writer.table(_table(element))
            elif kind == "chart":
                title, rows = chart_rows(self._part(relation_id(element)))
                writer.paragraph(title)
                writer.table(rows)
            elif kind == "relIds":
                data = self._part(value(element, "dm") or "")
                for body in data.iter("{*}t") if data is not None else ():
                    if local(body.getparent()) == "pt":
                        writer.item(" ".join(found.text for found in paragraphs(body)))

    def _notes(self) -> str:
        path = next((one.target for one in self._related.values() if one.kind == "notesSlide"), None)
        notes = self._package.part(path) if path is not None else None
        bodies = (shape for shape in _shapes(notes) if _placeholder(shape) == "body")
        return "\n".join(filter(None, map(shape_text, bodies)))

    def _part(self, identity: str) -> etree._Element | None:
        relation = self._related.get(identity)
        return self._package.part(relation.target) if relation is not None else None


def _shapes(slide: etree._Element | None) -> Iterator[etree._Element]:
    """Yield the shapes and frames, those of groups and the first of alternatives included."""
    stack = children(slide, "cSld", "spTree")[::-1]
    while stack:
        element = stack.pop()
        kind = local(element)
        if kind in {"sp", "graphicFrame"}:
            yield element
        elif kind in {"grpSp", "Choice", "Fallback"}:
            stack.extend(reversed(element))
        elif kind == "AlternateContent":
            stack.extend(list(element)[:1])


def _placeholder(shape: etree._Element) -> str | None:
    """Return what part of the slide's layout a shape fills, None for one that stands free."""
    for properties in shape:
        mark = child(properties, "nvPr", "ph")
        if mark is not None:
            return value(mark, "type") or "obj"
    return None


def _table(table: etree._Element) -> list[list[str]]:
    """Return the texts of cells; what is merged over rows is repeated, so that every row can be understood alone."""
    grid: list[list[str]] = []
    for row in table.iterchildren("{*}tr"):
        cells = list(row.iterchildren("{*}tc"))[: _MOST_COLUMNS * 10]
        texts = [shape_text(cell) for cell in cells]
        for column, cell in enumerate(cells):
            if cell.get("vMerge") in {"1", "true"} and grid and column < len(grid[-1]):
                texts[column] = grid[-1][column]
        grid.append(texts)
    return grid

"""OpenDocument texts (.odt), as LibreOffice writes them. Element names are those of OpenDocument 1.3, part 3."""

from __future__ import annotations

from lxml import etree

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, parser_id, shown
from keepstone.retrieval.loaders.detect import ODT
from keepstone.retrieval.loaders.office_zip import OfficeZip
from keepstone.retrieval.loaders.writer import MarkdownWriter
from keepstone.retrieval.loaders.xml_tree import child, children, local, number, value
from keepstone.retrieval.types import Document

_SKIPPED = frozenset({"tracked-changes", "annotation", "annotation-end", "forms", "index-body", "note", "ruby-text"})
_MOST_COLUMNS = 100
_MOST_SPACES = 100


class OdtLoader:
    """Reads OpenDocument texts."""

    name = "odt"
    version = f"1 lxml {etree.__version__}"
    media_types = frozenset({ODT})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        package = open_package(data, name, "OpenDocument text")
        content = package.part("content.xml")
        body = child(content, "body", "text")
        if body is None:
            raise package.damaged("it has no text part")
        writer = MarkdownWriter(limits.max_text_chars)
        _Walk(writer, content, package.part("styles.xml")).blocks(body)
        if writer.is_empty:
            raise UnreadableDocument(f"{shown(name)} contains no text", fix="If it holds scanned pages, save it as PDF")
        return writer.document(name=name, media_type=ODT, parser=parser_id(self), title=title_of(package))


def open_package(data: bytes, name: str, what: str) -> OfficeZip:
    """Return the parts of an OpenDocument file, which is a `what` in messages.

    Raises:
        UnreadableDocument: damaged or encrypted.
    """
    package = OfficeZip(data, name, what=what, program="LibreOffice")
    manifest = package.part("META-INF/manifest.xml", doctype=True)
    if manifest is not None and next(manifest.iter("{*}encryption-data"), None) is not None:
        raise UnreadableDocument(
            f"{shown(name)} is encrypted", fix="Remove the password in LibreOffice and upload it again"
        )
    return package


def title_of(package: OfficeZip) -> str:
    """Return the title in an OpenDocument file's metadata, "" where there is none."""
    found = child(package.part("meta.xml"), "meta", "title")
    return (found.text or "") if found is not None else ""


class _Walk:
    """Writes the blocks of a text in order."""

    def __init__(self, writer: MarkdownWriter, *parts: etree._Element | None) -> None:
        self._writer = writer
        self._notes = 0
        groups = [group for part in parts for group in children(part, "automatic-styles") + children(part, "styles")]
        self._parents = {value(one, "name"): value(one, "parent-style-name") for one in groups if local(one) == "style"}
        self._numbered = {
            (value(style, "name"), number(value(level, "level"), 1) - 1)
            for style in groups
            if local(style) == "list-style"
            for level in style
            if local(level) == "list-level-style-number"
        }

    def blocks(self, parent: etree._Element) -> None:
        """Write what is in `parent`."""
        for element in parent:
            kind = local(element)
            if kind == "h":
                self._writer.heading(number(value(element, "outline-level"), 1), inline_text(element))
                self._hanging(element)
            elif kind == "p":
                self._paragraph(element)
            elif kind == "list":
                self._list(element, 0, None)
                self._writer.end_list()
            elif kind == "table":
                self._writer.table(_grid(element))
            elif kind not in _SKIPPED:
                self.blocks(element)

    def _paragraph(self, element: etree._Element) -> None:
        style = value(element, "style-name")
        if "Title" in {style, self._parents.get(style)}:
            self._writer.heading(1, inline_text(element))
        else:
            self._writer.paragraph(inline_text(element))
        self._hanging(element)

    def _hanging(self, paragraph: etree._Element) -> None:
        """Write the notes and text boxes of a paragraph after it."""
        for element in paragraph.iter("{*}note", "{*}text-box"):
            if local(element) == "text-box":
                self.blocks(element)
            else:
                self._notes += 1
                self._writer.paragraph(f"[^{self._notes}]: {_block_text(child(element, 'note-body'))}")

    def _list(self, element: etree._Element, depth: int, style: str | None) -> None:
        style = value(element, "style-name") or style
        count = 0
        for item in element:
            marker = "-"
            if (style, depth) in self._numbered and local(item) == "list-item":
                count += 1
                marker = f"{count}."
            for block in item:
                if local(block) == "list":
                    self._list(block, depth + 1, style)
                elif marker:
                    self._writer.item(inline_text(block), depth=depth, marker=marker)
                    marker = ""
                else:
                    self._writer.item_paragraph(inline_text(block), depth=depth)


def inline_text(paragraph: etree._Element) -> str:
    """Return the characters of a paragraph without its notes, comments and text boxes."""
    parts = [paragraph.text or ""]
    for element in paragraph:
        kind = local(element)
        if kind == "s":
            parts.append(" " * min(number(value(element, "c"), 1), _MOST_SPACES))
        elif kind in {"tab", "line-break"}:
            parts.append("\t" if kind == "tab" else "\n")
        elif kind not in _SKIPPED and kind != "text-box":
            parts.append(inline_text(element))
        parts.append(element.tail or "")
    return "".join(parts)


def _block_text(parent: etree._Element | None) -> str:
    return " ".join(inline_text(block).strip() for block in parent.iter("{*}p", "{*}h")) if parent is not None else ""


def _grid(table: etree._Element) -> list[list[str]]:
    """Return the texts of cells; what is merged over rows is repeated, so that every row can be understood alone."""
    grid: list[list[str]] = []
    hanging: dict[int, tuple[str, int]] = {}
    for row in table.iter("{*}table-row"):
        texts: list[str] = []
        for cell in row:
            column = len(texts)
            if local(cell) == "covered-table-cell" and hanging.get(column, ("", 0))[1] > 0:
                text, left = hanging[column]
                hanging[column] = (text, left - 1)
            else:
                text = _block_text(cell)
                hanging[column] = (text, number(value(cell, "number-rows-spanned"), 1) - 1)
            texts += [text] * min(max(number(value(cell, "number-columns-repeated"), 1), 1), _MOST_COLUMNS)
        grid.append(texts)
    return grid

"""PDF: the text layer with page spans, by PDFium; headings from bookmarks and type sizes; ruled tables by pdfplumber.

A page that cannot be read loses its own text only. Pages without a text layer (scans) are read by text recognition;
where that is not installed, a file of nothing else is refused, because empty documents would answer nothing and look as
if they did.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from pypdfium2.version import PYPDFIUM_INFO

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, clean, parser_id, shown
from keepstone.retrieval.loaders.detect import PDF
from keepstone.retrieval.loaders.ocr import INSTALL, OTHER_LANGUAGES, program
from keepstone.retrieval.loaders.pdf_boxes import with_boxes
from keepstone.retrieval.loaders.pdf_layout import Bookmark, drop_running_lines, write_pages
from keepstone.retrieval.loaders.pdf_lines import Line, page_lines
from keepstone.retrieval.loaders.pdf_scans import is_readable, recognise_scans
from keepstone.retrieval.loaders.pdf_tables import find_tables, has_ruled_lines
from keepstone.retrieval.loaders.writer import MarkdownWriter, one_line
from keepstone.retrieval.types import Document

_MOST_BOOKMARKS = 10_000
_MOST_TABLE_PAGES = 80
# Titles that programs write, not people.
_NO_TITLE = re.compile(
    r"^(?:untitled|microsoft word|microsoft powerpoint|document\d*$|title$|doi:|about:blank|slide 1)"
    r"|\.(?:docx?|indd|tex|dvi|qxd|pdf|html?|pptx?|xlsx?)$",
    re.IGNORECASE,
)


class PdfLoader:
    """Reads PDF files that have a text layer."""

    name = "pdf"
    version = f"3 pypdfium2 {PYPDFIUM_INFO.version}"
    media_types = frozenset({PDF})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        with _open(data, name) as pdf:
            pages, ruled, failed = _read_pages(pdf, limits)
            pages = recognise_scans(pdf, pages, name, limits)
            _check_text(pages, failed, name)
            title = one_line(pdf.get_metadata_value("Title"))
            bookmarks = _bookmarks(pdf)
        tables = find_tables(data, ruled[:_MOST_TABLE_PAGES])
        writer = MarkdownWriter(limits.max_text_chars)
        pages = drop_running_lines(pages)
        write_pages(pages, bookmarks, tables, writer)
        title = "" if _NO_TITLE.search(title) else title
        document = writer.document(name=name, media_type=PDF, parser=parser_id(self), title=title)
        return with_boxes(document, pages)


def _open(data: bytes, name: str) -> pdfium.PdfDocument:
    try:
        pdf = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        # A document without pages is reported as one whose password is missing.
        if getattr(error, "err_code", None) == pdfium_c.FPDF_ERR_PASSWORD and b"/Encrypt" in data:
            raise UnreadableDocument(
                f"{shown(name)} is encrypted",
                fix="Remove its password, for example with `qpdf --decrypt --password=... IN OUT`, and upload it again",
            ) from error
        raise _damaged(name) from error
    if len(pdf) == 0:
        pdf.close()
        raise _damaged(name)
    return pdf


def _read_pages(pdf: pdfium.PdfDocument, limits: LoadLimits) -> tuple[list[list[Line]], list[int], int]:
    """Return the lines of each page, the indexes of pages with ruled lines, and how many pages failed."""
    pages: list[list[Line]] = []
    ruled: list[int] = []
    failed = characters = 0
    for index in range(len(pdf)):
        lines: list[Line] = []
        try:
            page = pdf[index]
            try:
                lines = page_lines(page)
                if lines and has_ruled_lines(page):
                    ruled.append(index)
            finally:
                page.close()
        except pdfium.PdfiumError:
            failed += 1
        pages.append(lines)
        characters += sum(len(line.text) for line in lines)
        if characters > 2 * limits.max_text_chars:  # the writer refuses it in the end; do not read on until then
            break
    return pages, ruled, failed


def _check_text(pages: Sequence[Sequence[Line]], failed: int, name: str) -> None:
    """Raise `UnreadableDocument` where there is no text, or only codes of glyphs that no table maps to characters."""
    if failed == len(pages):
        raise _damaged(name)
    if is_readable([line for page in pages for line in page]):
        return
    what = "a text layer that maps to no characters" if any(pages) else "no text layer: its pages are pictures"
    raise UnreadableDocument(
        f"{shown(name)} has {what}", fix=OTHER_LANGUAGES if program() else f"It needs OCR. {INSTALL}"
    )


def _bookmarks(pdf: pdfium.PdfDocument) -> list[Bookmark]:
    found: list[Bookmark] = []
    try:
        for item in pdf.get_toc(max_depth=6):
            target = item.get_dest()
            page = target.get_index() if target is not None else None
            title = one_line(clean(item.get_title()))
            if page is not None and title:
                found.append(Bookmark(item.level + 1, title, page))
            if len(found) >= _MOST_BOOKMARKS:
                break
    except (pdfium.PdfiumError, RecursionError):
        return found
    return found


def _damaged(name: str) -> UnreadableDocument:
    return UnreadableDocument(
        f"{shown(name)} is damaged: no page of it can be read (it is probably cut short)",
        fix="Upload the whole file again, or repair it, for example with `qpdf IN OUT`",
    )

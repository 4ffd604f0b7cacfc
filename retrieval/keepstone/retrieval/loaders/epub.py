"""Books (.epub): the chapters in reading order, each read as a web page. Element names are those of EPUB 3.3."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from urllib.parse import unquote, urldefrag

from lxml import etree

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, parser_id, shown
from keepstone.retrieval.loaders.detect import EPUB
from keepstone.retrieval.loaders.html import decode_html, parse_html
from keepstone.retrieval.loaders.html_walk import write_markdown
from keepstone.retrieval.loaders.office_zip import OfficeZip
from keepstone.retrieval.loaders.writer import MarkdownWriter, one_line
from keepstone.retrieval.loaders.xml_tree import child, children, local
from keepstone.retrieval.types import Document

_PAGES = frozenset({"application/xhtml+xml", "text/html", "text/x-oeb1-document"})
_NO_TEXT = ("head", "script", "style", "noscript", "template", "svg", "audio", "video", "object", "rt", "rp")
_FONT_SCRAMBLING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


class EpubLoader:
    """Reads EPUB books."""

    name = "epub"
    version = f"1 lxml {etree.__version__}"
    media_types = frozenset({EPUB})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        package = OfficeZip(data, name, what="EPUB book", program="an e-book editor such as Calibre")
        container = package.part("META-INF/container.xml", doctype=True)
        path = next((root.get("full-path", "") for root in children(container, "rootfiles")), "")
        book = package.part(path, doctype=True)
        if book is None:
            raise package.damaged("it has no list of chapters")
        _refuse_protected(package, name)
        labels = _labels(package, book, path)
        writer = MarkdownWriter(limits.max_text_chars)
        for chapter in _chapters(book, path):
            page = package.content(chapter)
            if page is not None and page.strip():
                _write_chapter(writer, parse_html(decode_html(page, name), name), labels.get(chapter, ""))
        if writer.is_empty:
            raise UnreadableDocument(
                f"{shown(name)} contains no text", fix="Is it a book of pictures? Upload it as PDF"
            )
        title = next((text for text in _metadata(book, "title") if text), "")
        return writer.document(name=name, media_type=EPUB, parser=parser_id(self), title=title)


def _chapters(book: etree._Element, path: str) -> Iterator[str]:
    """Yield the paths of the pages in reading order, without the table of contents."""
    items = {item.get("id"): item for item in children(book, "manifest")}
    for reference in children(book, "spine"):
        item = items.pop(reference.get("idref"), None)  # a page that comes twice is read once
        if item is not None and item.get("media-type") in _PAGES and "nav" not in item.get("properties", "").split():
            yield _resolved(path, item.get("href", ""))


def _write_chapter(writer: MarkdownWriter, root: etree._Element, label: str) -> None:
    """Write a page, under its label in the table of contents where it has no heading of its own."""
    if label and next(root.iter("h1", "h2", "h3", "h4", "h5", "h6"), None) is None:
        writer.heading(1, label)
    # Of what web pages surround their content with, books have nothing; their headers and asides belong to the text.
    etree.strip_elements(root, *_NO_TEXT, with_tail=False)
    write_markdown(root, writer)
    writer.end_list()


def _labels(package: OfficeZip, book: etree._Element, path: str) -> dict[str, str]:
    """Return what the table of contents calls each page: of EPUB 3 (nav) or else of EPUB 2 (ncx)."""
    found: dict[str, str] = {}
    for item in children(book, "manifest"):
        contents = _resolved(path, item.get("href", ""))
        if "nav" in item.get("properties", "").split() or item.get("media-type") == "application/x-dtbncx+xml":
            root = package.part(contents, doctype=True)
            for entry in root.iter("{*}a", "{*}navPoint") if root is not None else ():
                if local(entry) == "a":
                    target, text = entry.get("href", ""), "".join(entry.itertext())
                else:
                    source = child(entry, "content")
                    target = source.get("src", "") if source is not None else ""
                    text = "".join(label.text or "" for label in children(entry, "navLabel"))
                found.setdefault(_resolved(contents, target), one_line(text))
    return found


def _refuse_protected(package: OfficeZip, name: str) -> None:
    """Raise for a book whose text is encrypted; fonts often are, and need not be read."""
    encryption = package.part("META-INF/encryption.xml", doctype=True)
    for method in encryption.iter("{*}EncryptionMethod") if encryption is not None else ():
        part = method.getparent()
        if local(part) == "EncryptedData" and method.get("Algorithm") not in _FONT_SCRAMBLING:
            raise UnreadableDocument(
                f"{shown(name)} is encrypted (protected by DRM)", fix="Upload a copy of the book without protection"
            )


def _metadata(book: etree._Element, name: str) -> Iterator[str]:
    for element in children(book, "metadata"):
        if local(element) == name:
            yield one_line("".join(element.itertext()))


def _resolved(base: str, target: str) -> str:
    """Return the path in the zip of what a part at `base` refers to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(urldefrag(target)[0])))

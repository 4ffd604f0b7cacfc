"""Which loader reads which media type: the one table to extend.

The loaders' libraries are imported when the first file of that kind comes.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import SUPPORTED, Loader, LoadLimits, nested_too_deeply, shown
from keepstone.retrieval.loaders.detect import (
    CSV,
    DOCX,
    EML,
    EPUB,
    HTML,
    JPEG,
    JSON,
    MARKDOWN,
    MBOX,
    MSG,
    NOTEBOOK,
    ODS,
    ODT,
    PASSAGE,
    PDF,
    PLAIN,
    PNG,
    PPTX,
    RST,
    SOURCE,
    TIFF,
    TSV,
    XLSX,
    detect,
)
from keepstone.retrieval.types import Document

_HERE = __package__
_LOADERS: dict[str, str] = {
    PLAIN: "text:TextLoader",
    MARKDOWN: "markdown:MarkdownLoader",
    RST: "rst:RstLoader",
    HTML: "html:HtmlLoader",
    PDF: "pdf:PdfLoader",
    DOCX: "docx:DocxLoader",
    PPTX: "pptx:PptxLoader",
    ODT: "odt:OdtLoader",
    XLSX: "xlsx:XlsxLoader",
    ODS: "ods:OdsLoader",
    EPUB: "epub:EpubLoader",
    CSV: "csv:CsvLoader",
    TSV: "csv:CsvLoader",
    JSON: "json:JsonLoader",
    NOTEBOOK: "ipynb:NotebookLoader",
    EML: "eml:EmlLoader",
    MBOX: "mbox:MboxLoader",
    MSG: "msg:MsgLoader",
    SOURCE: "code:CodeLoader",
    PNG: "image:ImageLoader",
    JPEG: "image:ImageLoader",
    TIFF: "image:ImageLoader",
    PASSAGE: "passage:PassageLoader",
}


def media_types() -> tuple[str, ...]:
    """Return every media type that can be read."""
    return tuple(_LOADERS)


def loader_for(media_type: str) -> Loader:
    """Return the loader of a media type.

    Raises:
        UnreadableDocument: there is none.
    """
    try:
        module, _, loader = _LOADERS[media_type].partition(":")
    except KeyError as error:
        raise UnreadableDocument(f"No loader reads {media_type}", fix=SUPPORTED) from error
    return cast("Loader", getattr(import_module(f"{_HERE}.{module}"), loader)())


def load(data: bytes, name: str, limits: LoadLimits | None = None) -> Document:
    """Turn the bytes of a file into a Document, in this process.

    For files from people use `LoadPool`, which survives what a hostile file does to its process.

    Raises:
        UnreadableDocument: see `detect` and `Loader.load`.
        LimitExceeded: more text than allowed.
    """
    loader = loader_for(detect(data, name))
    try:
        document = loader.load(data, name, limits or LoadLimits())
    except RecursionError as error:
        raise nested_too_deeply(name) from error
    if not document.text.strip():
        raise UnreadableDocument(f"{shown(name)} contains no text", fix="Check the file in the program that made it")
    return document

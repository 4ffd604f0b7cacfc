"""What a loader is: the bytes of one format in, a `Document` out.

A loader is a small class that is listed in `registry.py`. It runs in a worker process (`process.py`) that can be
killed, under caps of time and memory, so it need not defend against those itself; it must raise `UnreadableDocument`
with the fix for what a person can meet, and write through `MarkdownWriter`, which enforces the cap on text.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.types import Document

SUPPORTED = (
    "Supported: .txt, .md, .rst, .html, .pdf, .docx, .odt, .pptx, .xlsx, .ods, .csv, .tsv, .json, .jsonl, .ipynb,"
    " .epub, .eml, .mbox, .msg, source code, .png, .jpg and .tiff (with OCR), and .zip, .tar and .tar.gz of these"
)

# Carriage returns, vertical tabs, form feeds, NEL and the two Unicode separators all end a line.
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Control characters, soft hyphens, byte order marks, lone surrogates, non-characters, and the invisible "tag"
# characters, whose only common use is to hide instructions from the reader's eye.
_UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits:
    """What reading one file may cost."""

    max_text_chars: int = 20_000_000
    """Longest text, in characters (setting `ingestion.max_text_chars`)."""
    timeout_s: float = 120.0
    """Longest time, in seconds (setting `ingestion.load_timeout_s`)."""
    memory_mb: int = 2048
    """Address space of the process that reads it, in MiB (setting `ingestion.load_memory_mb`)."""


class Loader(Protocol):
    """Reads one format."""

    @property
    def name(self) -> str:
        """Short name, such as `pdf`."""
        ...

    @property
    def version(self) -> str:
        """Rises whenever the same bytes may give another Document; also names the library used and its version."""
        ...

    @property
    def media_types(self) -> frozenset[str]:
        """The media types it reads."""
        ...

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """Turn the bytes of a file into a Document; the same bytes always give the same Document.

        Args:
            data: the whole file.
            name: the name a person gave it; used for the title and in messages only, never as a path.
            limits: the caps that hold.

        Raises:
            UnreadableDocument: encrypted, damaged, empty or without text.
            LimitExceeded: more text than `limits.max_text_chars`.
        """
        ...


def parser_id(loader: Loader) -> str:
    """Return what is stored as the provenance of a Document, such as `pdf/1 pypdfium2 5.15.2`."""
    return f"{loader.name}/{loader.version}"


def shown(name: str) -> str:
    """Return a file name as messages show it: quoted, on one line, of bounded length."""
    return repr(name if len(name) <= 120 else f"{name[:80]}...{name[-30:]}")


def stem(name: str) -> str:
    """Return a file name without folders and ending, as a title of last resort."""
    return clean(PurePath(name.replace("\\", "/")).stem).replace("\n", " ").strip()


def empty(name: str) -> UnreadableDocument:
    """Return the error for a file in which there is nothing to read."""
    return UnreadableDocument(f"{shown(name)} is empty", fix="Upload the file again, or leave it out")


def nested_too_deeply(name: str) -> UnreadableDocument:
    """Return the error for a file with thousands of elements inside each other."""
    return UnreadableDocument(f"{shown(name)} is nested too deeply", fix="Save it as PDF, and upload that")


def clean(text: str) -> str:
    """Return text with line feeds as line ends, in Unicode NFC, without control and other invisible harmful characters.

    NFC changes no character's meaning, and makes the decomposed accents that macOS writes match what people type.
    """
    if text.isascii() and text.isprintable():  # as most cells of tables are, which come by the million
        return text
    text = _UNWANTED.sub("", _LINE_ENDS.sub("\n", text))
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)

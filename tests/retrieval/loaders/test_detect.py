"""Files are taken for what they are, whatever they are called; the rest is refused by name."""

from __future__ import annotations

import random

import pytest

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.detect import (
    CSV,
    DOCX,
    EPUB,
    HTML,
    JSON,
    MARKDOWN,
    NOTEBOOK,
    ODT,
    PDF,
    PLAIN,
    PPTX,
    RST,
    TSV,
    XLSX,
    detect,
)
from tests.retrieval.loaders.office_samples import stored, text_parts
from tests.retrieval.loaders.samples import HTML as PAGE
from tests.retrieval.loaders.samples import MARKDOWN as NOTES
from tests.retrieval.loaders.samples import lines, pdf_file, word_file, zip_of

_NAMES = [
    "a.txt",
    "a.pdf",
    "a.docx",
    "a.html",
    "a.md",
    "a.PNG",
    "a",
    "../../etc/passwd",
    ".pdf",
    "a\x00b.txt",
    "x" * 5000,
]


@pytest.mark.parametrize("name", _NAMES)
def test_misnamed_files_are_recognised(name: str) -> None:
    assert detect(pdf_file([lines(["x"])]), name) == PDF
    assert detect(b"\n\njunk\n" + pdf_file([lines(["x"])]), name) == PDF
    assert detect(word_file(), name) == DOCX
    assert detect(zip_of({"xl/workbook.xml": b"<x/>"}), name) == XLSX
    assert detect(zip_of({"ppt/presentation.xml": b"<x/>"}), name) == PPTX
    assert detect(zip_of({"META-INF/container.xml": b"<x/>"}), name) == EPUB
    assert detect(stored(text_parts("")), name) == ODT
    assert detect(PAGE.encode(), name) == HTML
    assert detect(("\ufeff  <!-- c --><HTML lang=en>" + PAGE).encode("utf-16"), name) == HTML


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.md", MARKDOWN),
        ("a.MARKDOWN", MARKDOWN),
        ("a.txt", PLAIN),
        ("a.csv", CSV),
        ("a.tsv", TSV),
        ("a.rst", RST),
        ("a.json", JSON),
        ("a.jsonl", JSON),
        ("a.ipynb", NOTEBOOK),
        ("a.pdf", MARKDOWN),
        ("a", MARKDOWN),
    ],
)
def test_text_is_told_by_its_name(name: str, kind: str) -> None:
    assert detect(NOTES.encode(), name) == kind


def test_fragments_of_html_need_the_name() -> None:
    assert detect(b"<p>a</p>", "a.html") == HTML
    assert detect(b"<p>a</p>", "a.txt") == PLAIN
    assert detect(b"a %PDF- is a file", "a.txt") == PLAIN
    assert detect(b"BMW and MZ are motorcycles", "a.txt") == PLAIN


@pytest.mark.parametrize(
    ("data", "looks_like"),
    [
        (b"\x1f\x8b\x08" + bytes(range(50)), "gzip"),
        (b"Rar!\x1a\x07\x00" + bytes(50), "RAR"),
        (b"\x7fELF\x02\x01" + bytes(50), "program"),
        (b"MZ\x90\x00\x03" + bytes(50), "Windows program"),
        (b"SQLite format 3\x00" + bytes(50), "SQLite"),
        (b"{\\rtf1 hello}", "Rich Text"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(50), "video"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "before 2007"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
        (zip_of({"xl/workbook.bin": b"x"}), "binary Excel"),
        (zip_of({"ppt/x.xml": b"<x/>"}), "PowerPoint"),
        (zip_of({"content.xml": b"<x/>"}), "OpenDocument"),
        (zip_of({"notes.txt": b"hello"}), "zip archive"),
        (b"PK\x03\x04" + bytes(80), "damaged zip"),
        (random.Random(1).randbytes(5000), "binary data"),
        (bytes(range(1, 32)) * 30, "binary data"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.pdf"])
def test_unsupported_files_are_named(data: bytes, looks_like: str, name: str) -> None:
    with pytest.raises(UnreadableDocument, match=looks_like) as caught:
        detect(data, name)
    assert caught.value.fix


def test_messages_show_names_on_one_line() -> None:
    with pytest.raises(UnreadableDocument) as caught:
        detect(b"", "evil\nname\x1b[31m" + "x" * 5000)
    assert "\n" not in caught.value.message
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("page", [b"<b>bold</b> words", b"<p title='" + b"x" * 2_000_000 + b"'>words</p>"])
def test_a_page_of_unusual_tags_is_still_a_page(page: bytes) -> None:
    assert detect(page, "page.html") == HTML

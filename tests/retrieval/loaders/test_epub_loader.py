"""Books: chapters in reading order, under their names; protected and damaged ones are told."""

from __future__ import annotations

import pytest

from keepstone.platform.errors import KeepstoneError, LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders import load, office_zip
from tests.retrieval.loaders.office_samples import book, book_parts
from tests.retrieval.loaders.samples import zip_of

_ENCRYPTION = (
    "<encryption><EncryptedData><EncryptionMethod Algorithm='{}'/><CipherData><CipherReference URI='x'/></CipherData>"
    "</EncryptedData></encryption>"
)


def test_chapters_in_reading_order() -> None:
    document = load(book(), "a.epub")
    assert document.text == "# One\n\nFirst words.\n\n# Two\n\nLast words."
    assert document.title == "Pump manual"
    assert [heading.title for heading in document.headings] == ["One", "Two"]


def test_headers_and_asides_belong_to_a_book() -> None:
    page = "<header><h2>Care</h2></header><p>Text</p><aside><p>A note.</p></aside><script>x</script><style>y</style>"
    assert load(zip_of(book_parts({"a": page})), "a.epub").text == "## Care\n\nText\n\nA note."


def test_the_contents_of_epub_3() -> None:
    parts = book_parts({"a.xhtml": "<p>Words.</p>"})
    nav = "<item id='nav' href='nav.xhtml' properties='nav' media-type='application/xhtml+xml'/>"
    package = parts["OPS/book.opf"].decode().replace("<manifest>", f"<manifest>{nav}")
    parts["OPS/book.opf"] = package.replace("<spine>", "<spine><itemref idref='nav'/>").encode()
    parts["OPS/nav.xhtml"] = b"<html xmlns='h'><body><nav><a href='text/a%2Exhtml#x'>The  start</a></nav></body></html>"
    assert load(zip_of(parts), "a.epub").text == "# The start\n\nWords."


def test_scrambled_fonts_do_no_harm_but_encrypted_text_is_named() -> None:
    parts = book_parts({"a": "<p>Words.</p>"})
    fonts = parts | {"META-INF/encryption.xml": _ENCRYPTION.format("http://www.idpf.org/2008/embedding").encode()}
    assert load(zip_of(fonts), "a.epub").text == "Words."
    text = parts | {
        "META-INF/encryption.xml": _ENCRYPTION.format("http://www.w3.org/2001/04/xmlenc#aes128-cbc").encode()
    }
    with pytest.raises(UnreadableDocument, match="encrypted"):
        load(zip_of(text), "a.epub")


def test_chapters_that_lead_out_of_the_book_or_nowhere_are_left_out() -> None:
    parts = book_parts({"a": "<p>Words.</p>", "b": "<p>gone</p>"})
    package = parts["OPS/book.opf"].decode().replace("text/b", "../../../../etc/passwd")
    assert load(zip_of(parts | {"OPS/book.opf": package.encode()}), "a.epub").text == "Words."


def test_hostile_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office_zip, "_LARGEST_PART", 600_000)
    parts = book_parts({"a": "<p>x</p>"})
    bomb = b'<!DOCTYPE ncx [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;"><!ENTITY p SYSTEM "file:///etc/passwd">]>'
    point = b"<navPoint><navLabel><text>&b;&p;</text></navLabel><content src='text/a'/></navPoint>"
    assert load(zip_of(parts | {"OPS/toc.ncx": bomb + b"<ncx>" + point + b"</ncx>"}), "a.epub").text == "x"
    package = parts["OPS/book.opf"].replace(b"<manifest>", b"<manifest>&a;").replace(b"<spine>", b"<spine>&b;")
    assert load(zip_of(parts | {"OPS/book.opf": package}), "a.epub").text == "x"
    with pytest.raises(LimitExceeded, match="zip bomb"):
        load(zip_of(parts | {"OPS/text/a": b" " * 700_000}), "a.epub")
    with pytest.raises(UnreadableDocument, match="nested too deeply"):
        load(zip_of(book_parts({"a": "<div>" * 100_000})), "a.epub")
    for damaged in parts:
        for data in (b"", b"<a/>", b"\x00\xff"):
            try:
                assert load(zip_of(parts | {damaged: data}), "a.epub").text
            except KeepstoneError as error:
                assert error.fix  # noqa: PT017 - either outcome is right
    with pytest.raises(UnreadableDocument, match="damaged EPUB book"):
        load(book()[:-40], "a.epub")


def test_a_book_of_pictures_is_named() -> None:
    with pytest.raises(UnreadableDocument, match="no text"):
        load(zip_of(book_parts({"a": "<img src='http://example.org/x.png'/>"})), "a.epub")

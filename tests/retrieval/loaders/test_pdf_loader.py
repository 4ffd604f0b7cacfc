"""PDF: text with pages, headings, paragraphs and tables; scans, passwords and damage are named."""

from __future__ import annotations

import pytest

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders import load
from tests.retrieval.loaders.samples import lines, pdf_file, ruled_table

_PROSE = [
    "The filter of the pump must be cleaned every day before the first shift begins, because",
    "dust that stays in it over night becomes hard and can then be removed only by force.",
]


def test_headings_by_size_paragraphs_and_pages() -> None:
    first = [("Pump manual", 70, 790, 24), ("1 Care", 70, 740, 16), *lines(_PROSE, top=715), *lines(_PROSE, top=660)]
    second = [("2 Repair", 70, 760, 16), *lines(_PROSE, top=735)]
    document = load(pdf_file([first, second]), "pump.pdf")
    assert [(h.level, h.title) for h in document.headings] == [(1, "Pump manual"), (2, "1 Care"), (2, "2 Repair")]
    assert document.text.count(" ".join(_PROSE)) == 3
    assert "\n\n".join([" ".join(_PROSE)] * 2) in document.text
    assert [p.number for p in document.pages] == [1, 2]
    assert document.text[document.pages[1].start : document.pages[1].end].strip().startswith("## 2 Repair")
    assert document.pages[0].start == 0
    assert document.pages[1].end == len(document.text)
    assert document.title == "Pump manual"
    assert document.language == "en"


def test_running_heads_and_page_numbers_are_dropped() -> None:
    pages = [lines([*_PROSE, f"This is text {number}."]) for number in range(4)]
    text = load(pdf_file(pages, header="ACME Confidential"), "a.pdf").text
    assert "ACME" not in text
    assert "Page" not in text
    assert all(f"text {number}" in text for number in range(4))


def test_sentence_that_runs_over_a_page_is_one_paragraph() -> None:
    pages = [lines([_PROSE[0]]), lines([_PROSE[1]])]
    document = load(pdf_file(pages), "a.pdf")
    assert document.text == " ".join(_PROSE)
    assert document.text[document.pages[1].start :].strip() == _PROSE[1]


def test_bullets_and_bold_headings() -> None:
    page = [*lines(_PROSE, top=760), ("Scope of delivery", 70, 700, -10), *lines(["• one pump", "• two keys"], top=680)]
    document = load(pdf_file([page]), "a.pdf")
    assert [h.title for h in document.headings] == ["Scope of delivery"]
    assert document.text.endswith("- one pump\n- two keys")


def test_ruled_table_becomes_markdown_once() -> None:
    text = load(ruled_table(), "a.pdf").text
    assert "| Part | Count |\n| --- | --- |\n| Screw | 4 |\n| Nut | 6 |" in text
    assert text.count("Screw") == 1
    assert text.startswith("The parts of the pump")
    assert text.endswith("After the table.")


def test_encrypted_file_says_so() -> None:
    with pytest.raises(UnreadableDocument, match="is encrypted") as caught:
        load(pdf_file([lines(["secret"])], password="letmein"), "a.pdf")
    assert "password" in (caught.value.fix or "")


def test_a_document_without_pages_is_not_called_encrypted() -> None:
    """PDFium reports both by the same code."""
    data = (
        b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n"
        b"2 0 obj\n<</Type/Pages/Count 0/Kids[]>>\nendobj\ntrailer\n<</Size 3/Root 1 0 R>>\n%%EOF"
    )
    with pytest.raises(UnreadableDocument, match="is damaged"):
        load(data, "empty.pdf")


def test_file_that_anybody_may_open_is_read_although_it_has_an_owner_password() -> None:
    assert load(pdf_file([lines(["Open to all."])], password=""), "a.pdf").text == "Open to all."


def test_scan_is_refused_with_advice() -> None:
    with pytest.raises(UnreadableDocument, match=r"no text layer.*OCR"):
        load(pdf_file([[], []]), "scan.pdf")


@pytest.mark.parametrize("keep", [0.02, 0.3])
def test_truncated_file_says_that_it_is_damaged(keep: float) -> None:
    whole = pdf_file([lines(_PROSE), lines(_PROSE)])
    with pytest.raises(UnreadableDocument, match=r"damaged|no text layer") as caught:
        load(whole[: int(keep * len(whole))], "a.pdf")
    assert caught.value.fix


def test_pages_before_the_cut_are_saved() -> None:
    whole = pdf_file([lines(_PROSE), lines(_PROSE)])
    assert _PROSE[0] in load(whole[: whole.rindex(b"xref")], "a.pdf").text


def test_a_broken_page_does_not_lose_the_others() -> None:
    whole = pdf_file([lines([f"This is page {number}."], top=500) for number in range(3)])
    broken = whole.replace(b"/Type /Page\n", b"/Type /Pxge\n", 1)
    assert broken != whole
    text = load(broken, "a.pdf").text
    assert "page 2" in text


def test_same_bytes_same_document() -> None:
    assert load(ruled_table(), "a.pdf") == load(ruled_table(), "a.pdf")

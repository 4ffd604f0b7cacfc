"""Presentations: every slide is a page under its title; lists, tables, charts and notes come out."""

from __future__ import annotations

import pytest

from keepstone.platform.errors import KeepstoneError, LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders import load, office_zip
from tests.retrieval.loaders.office_samples import presentation, slide_parts
from tests.retrieval.loaders.samples import zip_of


def _shape(paragraphs: str, placeholder: str = "") -> str:
    mark = f"<p:ph type='{placeholder}'/>" if placeholder else ""
    return f"<p:sp><p:nvSpPr><p:nvPr>{mark}</p:nvPr></p:nvSpPr><p:txBody>{paragraphs}</p:txBody></p:sp>"


def _p(text: str, properties: str = "") -> str:
    return f"<a:p>{properties}<a:r><a:t>{text}</a:t></a:r></a:p>"


def _text(shapes: str) -> str:
    return load(zip_of(slide_parts(shapes)), "deck.pptx").text


def test_slides_are_pages_with_titles() -> None:
    document = load(presentation(), "a.pptx")
    assert document.text == (
        "# Pump manual\n\nFor the P-40\n\nNotes: Say hello.\n\n# Care\n\n- Clean the filter\n  - daily\n\n"
        "| Part | Count |\n| --- | --- |\n| Screw | 4 |\n\n"
        "# Slide 3\n\n|  | Sold |\n| --- | --- |\n| 2024 | 3 |\n| 2025 | 4.5 |"
    )
    assert document.title == "Pump manual"
    assert [heading.title for heading in document.headings] == ["Pump manual", "Care", "Slide 3"]
    assert [page.number for page in document.pages] == [1, 2, 3]
    assert document.text[document.pages[1].start : document.pages[1].end].strip().startswith("# Care")


def test_the_title_comes_first_and_furniture_not_at_all() -> None:
    shapes = (
        _shape(_p("Body")) + _shape(_p("Page 3"), "sldNum") + _shape(_p("ACME"), "ftr") + _shape(_p("Title"), "title")
    )
    assert _text(shapes) == "# Title\n\nBody"


def test_lists_numbers_groups_and_alternatives() -> None:
    numbered = "<a:pPr><a:buAutoNum startAt='3'/></a:pPr>"
    plain = "<a:pPr><a:buNone/></a:pPr>"
    shapes = (
        f"<p:grpSp>{_shape(_p('three', numbered) + _p('four', '<a:pPr><a:buAutoNum/></a:pPr>'))}</p:grpSp>"
        f"<mc:AlternateContent xmlns:mc='mc'><mc:Choice>{_shape(_p('new'))}</mc:Choice>"
        f"<mc:Fallback>{_shape(_p('old'))}</mc:Fallback></mc:AlternateContent>"
        f"{_shape(_p('one') + _p('two', plain), 'body')}"
    )
    assert _text(shapes) == "# Slide 1\n\n3. three\n4. four\n\nnew\n\n- one\n\ntwo"


def test_merged_cells_are_repeated_in_each_row() -> None:
    def cell(text: str, merged: str = "") -> str:
        return f"<a:tc {merged}><a:txBody>{_p(text)}</a:txBody></a:tc>"

    table = (
        f"<a:tbl><a:tr>{cell('Part')}{cell('Size')}</a:tr><a:tr>{cell('Screw')}{cell('M4')}</a:tr>"
        f"<a:tr>{cell('', 'vMerge=' + repr('1'))}{cell('M5')}</a:tr></a:tbl>"
    )
    frame = f"<p:graphicFrame><a:graphic><a:graphicData>{table}</a:graphicData></a:graphic></p:graphicFrame>"
    assert _text(frame).endswith("| Screw | M4 |\n| Screw | M5 |")


def test_pictures_without_text_are_named() -> None:
    with pytest.raises(UnreadableDocument, match="contains no text") as caught:
        _text("<p:pic/>")
    assert "OCR" in (caught.value.fix or "")


@pytest.mark.parametrize("cut", [0.1, 0.6, 0.99])
def test_a_file_cut_short_is_named(cut: float) -> None:
    whole = presentation()
    with pytest.raises(UnreadableDocument, match="damaged PowerPoint presentation"):
        load(whole[: int(len(whole) * cut)], "a.pptx")


def test_hostile_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office_zip, "_LARGEST_PART", 200_000)
    parts = slide_parts(_shape(_p("x")))
    slide = parts["ppt/slides/slide1.xml"]
    with pytest.raises(UnreadableDocument, match="document type"):
        load(zip_of(parts | {"ppt/slides/slide1.xml": b'<!DOCTYPE p [<!ENTITY a "b">]>' + slide}), "a.pptx")
    with pytest.raises(LimitExceeded, match="zip bomb"):
        load(zip_of(parts | {"ppt/slides/slide1.xml": slide + b" " * 300_000}), "a.pptx")
    with pytest.raises(UnreadableDocument, match="nested too deeply"):
        load(zip_of(slide_parts("<p:grpSp>" * 5000 + "</p:grpSp>" * 5000)), "a.pptx")
    for missing in parts:
        with pytest.raises(KeepstoneError) as caught:
            load(zip_of(parts | {missing: b"<a/>"}), "a.pptx")
        assert caught.value.fix

"""Word documents: structure and numbers come out, bombs and entities do not go off."""

from __future__ import annotations

import io
import struct
import zipfile

import docx
import pytest

from keepstone.platform.errors import KeepstoneError, LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders import load
from keepstone.retrieval.loaders.docx_numbering import spelled
from tests.retrieval.loaders.samples import raw_word, saved, word_file, zip_of

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def _p(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def test_structure_as_markdown() -> None:
    document = load(word_file(), "a.docx")
    assert document.text == (
        "# Pump manual\n\n## Care\n\nClean the filter daily.\n\n### 清洗\n\n每天清洗过滤器。\n\n- First\n- Second\n\n"
        "| Part | Count |\n| --- | --- |\n| Screw | 4 |\n| Screw | 6 |"
    )
    assert document.title == "Pump manual"
    assert [h.title for h in document.headings] == ["Pump manual", "Care", "清洗"]


def test_numbers_that_word_computes_are_written_out() -> None:
    numbering = f"""<w:numbering {_W}><w:abstractNum w:abstractNumId="1">
      <w:lvl w:ilvl="0"><w:start w:val="3"/><w:numFmt w:val="chineseCounting"/><w:lvlText w:val="第%1章"/></w:lvl>
      <w:lvl w:ilvl="1"><w:numFmt w:val="decimal"/><w:lvlText w:val="%2)"/></w:lvl>
      </w:abstractNum><w:num w:numId="7"><w:abstractNumId w:val="1"/></w:num></w:numbering>"""
    listed = '<w:outlineLvl w:val="0"/><w:numPr><w:ilvl w:val="0"/><w:numId w:val="7"/></w:numPr>'
    item = '<w:numPr><w:ilvl w:val="1"/><w:numId w:val="7"/></w:numPr>'
    body = _p("考勤", listed) + _p("a", item) + _p("b", item) + _p("休假", listed) + _p("c", item)
    text = load(raw_word(body, numbering=numbering.encode()), "a.docx").text
    assert text == "# 第三章 考勤\n\n  1) a\n  2) b\n\n# 第四章 休假\n\n  1) c"


@pytest.mark.parametrize(
    ("count", "kind", "text"),
    [
        (4, "upperRoman", "IV"), (28, "lowerLetter", "bb"), (110, "chineseCounting", "一百一十"),
        (9, "cardinalText", "9"), (10, "chineseCounting", "十"), (203, "chineseCounting", "二百零三"),
        (7, "decimalZero", "07"),
    ],
)  # fmt: skip
def test_number_formats(count: int, kind: str, text: str) -> None:
    assert spelled(count, kind) == text


def test_changes_fields_boxes_formulas_and_notes() -> None:
    body = (
        "<w:p><w:r><w:t>Keep </w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:r><w:instrText>PAGE</w:instrText></w:r>"
        '<w:r><w:footnoteReference w:id="2"/></w:r></w:p>'
        "<w:p><m:oMath><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f></m:oMath></w:p>"
        "<w:p><w:r><mc:AlternateContent><mc:Choice><w:txbxContent><w:p><w:r><w:t>Boxed</w:t></w:r></w:p></w:txbxContent>"
        "</mc:Choice><mc:Fallback><w:txbxContent><w:p><w:r><w:t>Boxed</w:t></w:r></w:p></w:txbxContent></mc:Fallback>"
        "</mc:AlternateContent></w:r></w:p>"
    )
    notes = (
        f'<w:footnotes {_W}><w:footnote w:id="2"><w:p><w:r><w:t>See there.</w:t></w:r></w:p></w:footnote></w:footnotes>'
    )
    assert (
        load(raw_word(body, footnotes=notes.encode()), "a.docx").text == "Keep new\n\n[^1]: See there.\n\na/b\n\nBoxed"
    )


def test_bold_lines_stand_in_for_headings_where_there_are_none() -> None:
    word = docx.Document()
    word.add_paragraph().add_run("Care").bold = True
    word.add_paragraph("Clean the filter daily.")
    assert [h.title for h in load(saved(word), "a.docx").headings] == ["Care"]


def test_pages_come_from_the_breaks_that_word_recorded() -> None:
    broken = "<w:p><w:r><w:lastRenderedPageBreak/><w:t>Two</w:t></w:r></w:p>"
    document = load(raw_word(_p("One") + broken + _p("Still two")), "a.docx")
    assert [(p.number, document.text[p.start : p.end].strip()) for p in document.pages] == [
        (1, "One"), (2, "Two\n\nStill two"),
    ]  # fmt: skip
    assert load(raw_word(_p("One")), "a.docx").pages == ()


def test_zip_bomb_is_refused_by_its_declared_size() -> None:
    bomb = raw_word(_p("x" * 120_000_000))
    assert len(bomb) < 500_000
    with pytest.raises(LimitExceeded, match="unpacks to far more"):
        load(bomb, "a.docx")


def test_zip_bomb_that_lies_about_its_size_is_refused() -> None:
    bomb = bytearray(raw_word(_p("x" * 120_000_000)))
    size = struct.pack("<I", zipfile.ZipFile(io.BytesIO(bomb)).getinfo("word/document.xml").file_size)
    with pytest.raises(KeepstoneError):
        load(bytes(bomb.replace(size, struct.pack("<I", 4000))), "a.docx")


def test_entities_are_not_expanded() -> None:
    laughs = (
        '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
        f"<w:document {_W}><w:body><w:p><w:r><w:t>&b;&f;</w:t></w:r></w:p></w:body></w:document>"
    )
    with pytest.raises(UnreadableDocument, match="document type"):
        load(zip_of({"word/document.xml": laughs.encode()}), "a.docx")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_truncated_file_says_so(keep: float) -> None:
    whole = word_file()
    with pytest.raises(UnreadableDocument, match="damaged Word document"):
        load(whole[: int(keep * len(whole))], "a.docx")


def test_password_inside_the_zip() -> None:
    data = bytearray(raw_word(_p("secret")))
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + offset] |= 1
    with pytest.raises(UnreadableDocument, match="encrypted"):
        load(bytes(data), "a.docx")


def test_document_without_text_names_recognition() -> None:
    with pytest.raises(UnreadableDocument, match="OCR"):
        load(raw_word("<w:p/>"), "a.docx")


def test_tables_within_tables_without_end() -> None:
    depth = 1500
    tables = "<w:tbl><w:tr><w:tc>" * depth + _p("deep") + "</w:tc></w:tr></w:tbl>" * depth
    with pytest.raises(UnreadableDocument, match=r"nested too deeply|no text"):
        load(raw_word(tables), "a.docx")


def test_styles_based_on_each_other_and_cells_without_end() -> None:
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{a}"><w:basedOn w:val="{b}"/></w:style>'
        for a, b in (("A", "B"), ("B", "A"))
    )
    body = _p("Text", '<w:pStyle w:val="A"/>') + (
        '<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val="99999999"/></w:tcPr><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc>'
        "<w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    )
    text = load(raw_word(body, styles=f"<w:styles {_W}>{styles}</w:styles>".encode()), "a.docx").text
    assert text.startswith("Text")
    assert len(text) < 100

"""Plain text and Markdown: any encoding comes out right, and only real headings are headings."""

from __future__ import annotations

import pytest

from keepstone.platform.errors import LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders import LoadLimits, load
from keepstone.retrieval.loaders.base import clean
from keepstone.retrieval.loaders.encoding import decode
from tests.retrieval.loaders.samples import MARKDOWN

_CHINESE = "员工守则：试用期为六个月。每天清洗过滤器，不得在车间内吸烟。请假须提前三天提出申请。"
_TRADITIONAL = "員工守則：試用期為六個月。每天清洗過濾器，不得在車間內吸煙。請假須提前三天提出申請。"
_JAPANESE = "従業員の皆さまへ。フィルターは毎日掃除してください。よろしくお願いします。"
_KOREAN = "필터는 매일 청소해야 합니다. 휴가는 사흘 전에 신청하시기 바랍니다."
_RUSSIAN = "Фильтр необходимо чистить каждый день. Отпуск нужно согласовать заранее, за три дня."
_GERMAN = "Der Filter ist täglich zu reinigen. Für Rückfragen wenden Sie sich an den Büroleiter."
_FRENCH = "Le filtre doit être nettoyé à la main chaque jour, même pendant les congés de l'été."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *((text, code) for text in (_CHINESE, _GERMAN) for code in ("utf-8", "utf-8-sig", "utf-16", "utf-32")),
        *((text, code) for text in (_CHINESE, _GERMAN, _RUSSIAN) for code in ("utf-16-le", "utf-16-be")),
        (_CHINESE, "gb18030"),
        (_TRADITIONAL, "big5"),
        (_JAPANESE, "shift_jis"),
        (_JAPANESE, "euc_jp"),
        (_KOREAN, "euc_kr"),
        (_RUSSIAN, "cp1251"),
        (_RUSSIAN, "koi8_r"),
        (_GERMAN, "cp1252"),
        (_FRENCH, "latin-1"),
    ],
)
def test_encoding_is_recognised(text: str, encoding: str) -> None:
    if encoding.startswith("utf-16-") and text == _RUSSIAN:
        pytest.skip("UTF-16 without mark is told by the zero bytes of ASCII, of which Russian has too few")
    assert decode(text.encode(encoding), "a.txt") == text


def test_one_bad_byte_does_not_spoil_utf8() -> None:
    data = (_CHINESE * 20).encode() + b"\xff" + _CHINESE.encode()
    assert decode(data, "a.txt").replace("\ufffd", "") == _CHINESE * 21


def test_zero_bytes_and_control_characters_are_removed() -> None:
    document = load(b"The pump\x00 is \x07blue.\r\nThe\x0bend\r.", "a.txt")
    assert document.text == "The pump is blue.\nThe\nend\n."


def test_hidden_characters_are_removed_and_accents_composed() -> None:
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "ignore")
    assert clean(f"cafe\u0301{hidden}\ufeff\u00ad") == "caf\u00e9"


def test_title_language_and_parser_of_plain_text() -> None:
    document = load(_CHINESE.encode("gb18030"), "dir\\员工守则.txt")
    assert (document.title, document.language, document.parser) == ("员工守则", "zh", "text/1")


def test_form_feeds_separate_pages() -> None:
    document = load(b"one\n\ftwo\n\fthree", "a.txt")
    assert [document.text[page.start : page.end].strip() for page in document.pages] == ["one", "two", "three"]
    assert [page.number for page in document.pages] == [1, 2, 3]


def test_headings_of_plain_text() -> None:
    text = (
        "ACME LTD\nPOLICY\n\n1. WHO CAN REPORT\n\nEverybody who works here.\n\n2.1 Channels\n\nBy mail.\n\n"
        "1. Open the box.\n\n2. Close the box.\n\nUnderlined\n==========\n\nText.\n\n第三章 考勤\n每天打卡。\n"
    )
    document = load(text.encode(), "a.txt")
    assert [(h.level, h.title) for h in document.headings] == [
        (2, "1. WHO CAN REPORT"), (3, "2.1 Channels"), (1, "Underlined"), (2, "第三章 考勤"),
    ]  # fmt: skip
    assert all(document.text[h.start :].startswith(h.title) for h in document.headings)


@pytest.mark.parametrize("data", [b"", b" \n\t ", b"\x00" * 500, b"\xef\xbb\xbf", b"\xff\xfe", "\u200a\u3000".encode()])
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.pdf", "a.docx", "a"])
def test_files_without_content_are_called_empty(data: bytes, name: str) -> None:
    with pytest.raises(UnreadableDocument, match="is empty") as caught:
        load(data, name)
    assert caught.value.fix


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_too_much_text_names_the_setting(name: str) -> None:
    with pytest.raises(LimitExceeded, match=r"ingestion\.max_text_chars"):
        load(b"<p>" + b"word " * 1000, name, LoadLimits(max_text_chars=1000))


def test_markdown_keeps_its_text_but_not_its_front_matter() -> None:
    document = load(MARKDOWN.encode(), "pump.md")
    assert document.title == "Pump manual"
    assert document.text.startswith("# Pump *P-40*")
    assert [(h.level, h.title) for h in document.headings] == [(1, "Pump P-40"), (2, "Parts")]
    first, second = document.headings
    assert (first.start, first.end) == (0, len(document.text))
    assert document.text[second.start :].startswith("Parts\n-----")
    assert second.end == len(document.text)


@pytest.mark.parametrize(
    "text",
    [
        "~~~\n# no\n~~~",
        "````\n```\n# no\n````",
        "```\n# never closed",
        "#hashtag",
        "####### seven",
        "text\n\n---\n\nmore",
        "- item\n---",
        "| a |\n|---|\n| b |",
        "    # indented code",
        "#",
    ],
)
def test_what_is_no_heading(text: str) -> None:
    assert load(f"x\n\n{text}\n".encode(), "a.md").headings == ()


def test_headings_without_marks() -> None:
    document = load(b"# See [the *docs*](http://x) ##\n\nTwo\nlines\n===\n", "a.md")
    assert [(h.level, h.title) for h in document.headings] == [(1, "See the docs"), (1, "Two lines")]


def test_title_falls_back_to_heading_then_to_name() -> None:
    assert load(b"# One\n\ntext", "a.md").title == "One"
    assert load(b"text only", "folder/My notes.md").title == "My notes"

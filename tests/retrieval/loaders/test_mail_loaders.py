"""Mails are read with who wrote them and what came with them; hostile ones end in an error, not in a hang."""

from __future__ import annotations

import random
from email.message import EmailMessage

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keepstone.platform.errors import LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders import LoadLimits, load
from keepstone.retrieval.loaders.detect import EML, MSG, PLAIN, detect
from tests.retrieval.loaders.mail_samples import mail_file, ole_file, outlook_file

_HEAD = b"From: a@example.org\nTo: b@example.org\nSubject: Pumps\nMIME-Version: 1.0\n"
_LIMITS = LoadLimits(max_text_chars=2_000_000)


def test_subject_people_text_and_attachments() -> None:
    document = load(mail_file(), "a.eml")
    assert document.media_type == EML
    assert document.title == "Wartung der Pumpe P-40: Übersicht"
    assert document.text.startswith(
        "# Wartung der Pumpe P-40: Übersicht\n\n"
        "From: Jürgen Groß <juergen@example.org>\nTo: Service <service@example.org>\n"
        "Date: Tue, 03 Mar 2026 10:00:00 +0100\n\nClean the filter daily.\n\n\\# no heading\n\n"
    )
    assert "in HTML" not in document.text
    assert "Attachments: notes.txt, manual.pdf" in document.text
    assert "%PDF" not in document.text
    assert [(heading.level, heading.title) for heading in document.headings] == [
        (1, "Wartung der Pumpe P-40: Übersicht"),
        (2, "notes.txt"),
        (2, "Spare parts"),
    ]
    assert "Torque: 40 Nm" in document.text
    assert "The screws come in bags of four." in document.text


def test_the_same_from_outlook() -> None:
    document = load(outlook_file(), "a.msg")
    assert document.media_type == MSG
    assert document.text == (
        "# Wartung der Pumpe: Übersicht\n\nFrom: Jürgen Groß <juergen@example.org>\nTo: Service\n"
        "Date: 2026-03-03 09:00 UTC\n\nClean the filter daily.\n\nThank you.\n\n"
        "Attachments: notes.txt\n\n## notes.txt\n\nTorque: 40 Nm"
    )


def test_a_page_is_read_where_there_is_no_plain_text() -> None:
    body = b"Content-Type: text/html; charset=utf-8\n\n<p>Clean the <b>filter</b> \xe6\xaf\x8f\xe5\xa4\xa9</p>"
    assert load(_HEAD + body, "a.eml").text.endswith("Clean the filter 每天")
    page = ole_file({"__substg1.0_10130102": b"<html><body><p>Clean the filter</p></body></html>".ljust(4096)})
    assert load(page, "a.msg").text == "Clean the filter"


@pytest.mark.parametrize(
    ("header", "title"),
    [
        (b"=?utf-8?B?UHVtcGUgw7xiZXI=?=", "Pumpe über"),
        (b"=?gb2312?B?x+XP4LnYyMvUsQ==?=", "清相关人员"),
        ("清洗过滤器，每天一次".encode(), "清洗过滤器，每天一次"),
        (b"=?utf-8?B?!!!?=", "a"),
        (b"=?undefined?Q?x?= =?zip?Q?y?=", "xy"),
        (b"a\x00b\x1b[31m", "ab[31m"),
    ],
)
def test_headers_in_any_encoding(header: bytes, title: str) -> None:
    data = b"From: a@example.org\nSubject: " + header + b"\n\nText of the mail."
    assert load(data, "a.eml").title == title


def test_what_is_a_mail_and_what_only_looks_like_one() -> None:
    assert detect(_HEAD + b"\nText", "a.txt") == EML
    assert detect(b"Received: x\r\nFrom: y\r\nSubject: z\r\n\r\nText", "a") == EML
    assert detect(b"From: y\n\nText", "a.eml") == EML
    assert detect(b"From: Berlin\nTo: Paris\nDate: Monday\n\nBring a coat.", "trip.txt") == PLAIN
    assert detect(b"Note: clean the filter\n\nText", "a.txt") == PLAIN


def test_encrypted_mails_say_so() -> None:
    data = _HEAD + b'Content-Type: multipart/encrypted; boundary="x"\n\n--x\n\nVersion: 1\n--x--\n'
    smime = _HEAD + b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\nAAAA\n"
    outlook = ole_file({"__substg1.0_001A001F": "IPM.Note.SMIME".encode("utf-16-le")})
    for file in (data.replace(b"\n\nVersion", b"\nContent-Type: application/x\n\nVersion"), smime, outlook):
        with pytest.raises(UnreadableDocument, match="encrypted"):
            load(file, "a.eml")


def _nested(depth: int) -> bytes:
    """Return a mail of multiparts inside each other."""
    parts = [_HEAD]
    parts += [b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (level, level) for level in range(depth)]
    return b"".join(parts) + b"\nThe innermost text.\n"


def _mails_in_mails(depth: int) -> bytes:
    return _HEAD + b"Content-Type: message/rfc822\n\n" * depth + b"\nThe innermost text.\n"


@pytest.mark.parametrize("data", [_nested(1000), _mails_in_mails(1000)])
def test_a_thousand_layers_end_in_an_error(data: bytes) -> None:
    with pytest.raises(UnreadableDocument):
        load(data, "a.eml")


def test_some_layers_are_read() -> None:
    assert load(_nested(20), "a.eml").text.endswith("The innermost text.")


@pytest.mark.parametrize(
    "data",
    [
        b"From: " + b"a@example.org, " * 60_000 + b"\nSubject: x\n\nText.",
        b"Subject: " + b"=?utf-8?Q?a?= " * 100_000 + b"\n\nText.",
        b"".join(b"X-%d: y\n" % number for number in range(50_000)) + b"From: a\n\nText.",
        b"From: a\nContent-Type: text/plain; " + b'a="b"; ' * 20_000 + b"\n\nText.",
        b"From: a\nContent-Type: text/plain" + b";" * 100_000 + b"\n\nText.",
        b"Subject: " + b"(" * 200_000 + b"\nFrom: " + b"(" * 200_000 + b"\n\nText.",
        b"From: a\nSubject: x\n" + b" folded\n" * 100_000 + b"\nText.",
    ],
    ids=["people", "words", "names", "parameters", "semicolons", "parentheses", "folds"],
)
def test_enormous_headers_cost_little(data: bytes) -> None:
    assert "Text." in load(data, "a.eml", _LIMITS).text


def test_the_cap_on_text_holds() -> None:
    with pytest.raises(LimitExceeded):
        load(_HEAD + b"\n" + b"word " * 10_000, "a.eml", LoadLimits(max_text_chars=1000))


def test_names_of_attachments_are_shown_on_one_line() -> None:
    name = b"..%2F..%2Fetc%2Fpass%1Bwd%0D%0A%23%20head.txt"
    data = _HEAD + b"Content-Disposition: attachment; filename*=utf-8''" + name + b"\n\nIts text."
    document = load(data, "a.eml")
    assert [heading.title for heading in document.headings] == ["Pumps", "../../etc/passwd # head.txt"]
    assert "\x1b" not in document.text


def test_an_attachment_that_is_no_text_is_only_named() -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"] = "x", "y"
    mail.set_content("Text.")
    mail.add_attachment(random.Random(1).randbytes(3000), maintype="text", subtype="plain", filename="a.txt")
    assert load(mail.as_bytes(), "a.eml").text.endswith("Attachments: a.txt")


@given(data=st.data())
@settings(max_examples=150)
@example(data=None)
def test_damaged_mails_end_cleanly(data: st.DataObject | None) -> None:
    """Whatever is changed in a file, a Document or an error with a fix comes of it."""
    for name, original in (("a.eml", mail_file()), ("a.msg", outlook_file())):
        changed = bytearray(original)
        if data is not None:
            cuts = data.draw(st.lists(st.tuples(st.integers(0, len(original) - 1), st.binary(max_size=8)), max_size=12))
            for at, new in cuts:
                changed[at : at + len(new)] = new
            if data.draw(st.booleans()):
                del changed[data.draw(st.integers(0, len(changed))) :]
        try:
            assert load(bytes(changed), name, _LIMITS).text.strip()
        except (UnreadableDocument, LimitExceeded) as error:
            assert error.fix  # noqa: PT017 - either outcome is right

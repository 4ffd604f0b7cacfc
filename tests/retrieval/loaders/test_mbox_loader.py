"""Mailboxes: each mail under its subject, told apart by the lines between them and by nothing in the mails."""

from __future__ import annotations

import mailbox
from email.message import EmailMessage
from pathlib import Path

from keepstone.retrieval.loaders import load
from keepstone.retrieval.loaders.detect import EML, MBOX, detect
from tests.retrieval.loaders.mail_samples import mail_file, mailbox_file


def test_every_mail_stands_under_its_subject(tmp_path: Path) -> None:
    """As the standard library's mailbox writes them, which other programs read."""
    box = mailbox.mbox(tmp_path / "all.mbox")
    second = EmailMessage()
    second["From"] = "b@example.org"
    second.set_content("Dear all,\n\nFrom now on: clean it daily.\n\nFrom: not a header\n")
    for mail in (mail_file(), second.as_bytes()):
        box.add(mail)
    box.close()
    document = load((tmp_path / "all.mbox").read_bytes(), "all.mbox")
    assert document.media_type == MBOX
    assert [heading.title for heading in document.headings if heading.level == 1] == [
        "Wartung der Pumpe P-40: Übersicht",
        "Mail 2",
    ]
    assert "Torque: 40 Nm" in document.text
    assert "\nFrom now on: clean it daily." in document.text
    assert document.title == "all"


def test_a_mailbox_is_told_from_a_mail() -> None:
    """One mail with the line of a mailbox before it is a mail, unless its name says otherwise."""
    one = b"From a@example.org Tue Mar  3 10:00:00 2026\n" + mail_file()
    assert detect(one, "a.eml") == EML
    assert detect(one, "inbox.mbox") == MBOX
    assert detect(mailbox_file(), "inbox") == MBOX
    assert detect(mailbox_file().replace(b"\n", b"\r\n"), "inbox") == MBOX
    assert detect(b"From the beginning it rained.\n\nFrom then on it snowed.\nWord: x\n", "story.txt") == "text/plain"

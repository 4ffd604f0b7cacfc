"""What a mail is, whatever file it came in, and how it is written: subject, header lines, bodies, what is attached."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import dedent
from typing import Literal

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.encoding import decode
from keepstone.retrieval.loaders.html import write_html
from keepstone.retrieval.loaders.writer import MarkdownWriter, one_line

DEEPEST = 5
"""How many mails are read that lie inside each other; those further in are named only."""

_LONGEST_LINE = 2000
_LONGEST_NAME = 200
_MOST_NAMES = 500
_LARGEST_TEXT = 1 << 20
_TEXT_ENDINGS = (".txt", ".text", ".md", ".markdown", ".log", ".csv", ".tsv")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a mail."""

    name: str
    data: bytes = b""
    """Its bytes where they were read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail."""

    subject: str
    lines: Sequence[tuple[str, str]]
    """Names and values of the headers that are shown, in order."""
    bodies: Sequence[tuple[Literal["plain", "html"], str]]
    """Texts in the order in which a reader sees them."""
    attachments: Sequence[Attachment] = ()
    enclosed: Sequence[Mail] = ()
    """Mails that were forwarded with this one."""

    @property
    def has_text(self) -> bool:
        """Whether anything was said in it, or in what it encloses."""
        return any(text.strip() for _, text in self.bodies) or any(mail.has_text for mail in self.enclosed)


def write_mail(mail: Mail, name: str, writer: MarkdownWriter, *, level: int = 1) -> None:
    """Write a mail, the text files attached to it, and the mails in it.

    Args:
        mail: what to write.
        name: of the file, for messages.
        writer: gets it.
        level: of the heading that the subject becomes.
    """
    writer.heading(level, mail.subject)
    lines = [(label, one_line(value[:_LONGEST_LINE])) for label, value in mail.lines]
    writer.paragraph("\n".join(f"{label}: {value}" for label, value in lines if value))
    for kind, text in mail.bodies:
        if kind == "plain":
            _write_plain(text, writer)
        else:
            _write_page(text, name, writer)
    if mail.attachments:
        names = [one_line(attachment.name[:_LONGEST_NAME]) for attachment in mail.attachments[:_MOST_NAMES]]
        writer.paragraph(f"Attachments: {', '.join(names)}")
    for attachment in mail.attachments:
        text = _text_of(attachment)
        if text:
            writer.heading(level + 1, attachment.name[:_LONGEST_NAME])
            _write_plain(text, writer)
    for inner in mail.enclosed:
        write_mail(inner, name, writer, level=level + 1)


def _write_plain(text: str, writer: MarkdownWriter) -> None:
    for block in _BLANK_LINE.split(text.replace("\r\n", "\n")):
        writer.paragraph(dedent(block.strip("\n")))


def _write_page(text: str, name: str, writer: MarkdownWriter) -> None:
    try:
        write_html(text, name, writer)
    except UnreadableDocument:  # one empty part among others
        return


def _text_of(attachment: Attachment) -> str:
    """Return what stands in a small text file; nothing for every other kind, which may be ingested on its own."""
    if not attachment.name.lower().endswith(_TEXT_ENDINGS) or len(attachment.data) > _LARGEST_TEXT:
        return ""
    try:
        return decode(attachment.data, attachment.name)
    except UnreadableDocument:
        return ""

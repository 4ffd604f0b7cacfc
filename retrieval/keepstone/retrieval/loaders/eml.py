"""Mails as mail programs save and servers store them (.eml, RFC 5322 and MIME), and web archives (.mhtml).

The policy is the library's older one: its headers are strings, while those of the newer one are parsed by a grammar
that takes minutes for a hostile header and raises whatever its code runs into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.policy import compat32
from typing import Final, Literal

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, parser_id, shown
from keepstone.retrieval.loaders.detect import EML
from keepstone.retrieval.loaders.encoding import decode, decode_declared
from keepstone.retrieval.loaders.mail import DEEPEST, Attachment, Mail, write_mail
from keepstone.retrieval.loaders.writer import MarkdownWriter
from keepstone.retrieval.types import Document

_SHOWN: Final = ("From", "To", "Cc", "Date")
_LONGEST_HEADER = 8000
_ENCRYPTED: Final = frozenset({"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"})
_SURROGATE = re.compile("[\ud800-\udfff]")


class EmlLoader:
    """Reads mails."""

    name = "eml"
    version = "1"
    media_types = frozenset({EML})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        message = message_from_bytes(data, policy=compat32)
        mail = mail_of(message, name)
        if not mail.has_text and message.get_content_type() in _ENCRYPTED:
            raise encrypted(name)
        writer = MarkdownWriter(limits.max_text_chars)
        write_mail(mail, name, writer)
        return writer.document(name=name, media_type=EML, parser=parser_id(self), title=mail.subject)


def encrypted(name: str) -> UnreadableDocument:
    """Return the error for a mail that only its recipient's key opens."""
    return UnreadableDocument(
        f"{shown(name)} is an encrypted mail", fix="Open it in your mail program, save its text, and upload that"
    )


def header_text(raw: str) -> str:
    """Return a header's value with its encoded words decoded (RFC 2047), also when it is cut or wrong."""
    raw = raw[:_LONGEST_HEADER]
    if _SURROGATE.search(raw):  # bytes beyond ASCII, which are not allowed there and yet common
        raw = _lenient(raw.encode("utf-8", errors="surrogateescape"), "")
    try:
        parts = decode_header(raw)
    except (HeaderParseError, ValueError):
        return raw
    return "".join(part if isinstance(part, str) else _lenient(part, charset or "") for part, charset in parts)


def mail_of(message: Message, name: str, *, depth: int = 1) -> Mail:
    """Return what a mail says; `depth` tells how many mails it lies in, itself included."""
    headers = {label.lower(): value for label, value in reversed(list(message.raw_items()))}
    bodies: list[tuple[Literal["plain", "html"], str]] = []
    attachments: list[Attachment] = []
    enclosed: list[Mail] = []
    for part in _parts(message):
        kind = part.get_content_type()
        file_name = header_text(part.get_filename() or "")
        if part.is_multipart():
            inner = part.get_payload(0)
            if depth < DEEPEST and isinstance(inner, Message):
                enclosed.append(mail_of(inner, name, depth=depth + 1))
            else:
                attachments.append(Attachment(file_name or "message"))
        elif file_name or part.get_content_disposition() == "attachment":
            if part.get_content_disposition() == "attachment" or part.get_content_maintype() != "image":
                attachments.append(Attachment(file_name or f"unnamed ({kind})", _bytes_of(part)))
        elif kind == "text/plain":
            bodies.append(("plain", _text_of(part)))
        elif kind == "text/html":
            bodies.append(("html", _text_of(part)))
    return Mail(
        subject=header_text(str(headers.get("subject", ""))),
        lines=[(label, header_text(str(headers.get(label.lower(), "")))) for label in _SHOWN],
        bodies=bodies,
        attachments=attachments,
        enclosed=enclosed,
    )


def _parts(message: Message) -> Iterator[Message]:
    """Yield the parts of a mail in reading order; of alternatives the one that is plain text, where there is one."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        if not part.is_multipart() or (part is not message and part.get_content_maintype() == "message"):
            yield part
            continue
        inner = [each for each in part.get_payload() if isinstance(each, Message)]
        if part.get_content_subtype() == "alternative":
            plain = [each for each in inner if each.get_content_type() == "text/plain" and _text_of(each).strip()]
            inner = plain[:1] or inner
        waiting.extend(reversed(inner))


def _text_of(part: Message) -> str:
    return _lenient(_bytes_of(part), part.get_content_charset() or "")


def _bytes_of(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _lenient(data: bytes, charset: str) -> str:
    """Return text that is shown whatever is wrong with its bytes."""
    try:
        return decode_declared(data, charset, "") if charset else decode(data, "")
    except UnreadableDocument:
        return data.decode("utf-8", errors="replace")

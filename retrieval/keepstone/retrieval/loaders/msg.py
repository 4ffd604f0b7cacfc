"""Mails that Outlook saved (.msg): properties in the streams of an OLE file (MS-OXMSG, MS-OXPROPS).

A property is a stream named by its number and type, such as `__substg1.0_0037001F` for the subject in UTF-16.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import olefile

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, parser_id, shown
from keepstone.retrieval.loaders.detect import MSG
from keepstone.retrieval.loaders.eml import encrypted
from keepstone.retrieval.loaders.encoding import decode
from keepstone.retrieval.loaders.html import decode_html
from keepstone.retrieval.loaders.mail import DEEPEST, Attachment, Mail, write_mail
from keepstone.retrieval.loaders.writer import MarkdownWriter
from keepstone.retrieval.types import Document

_CLASS, _SUBJECT, _BODY, _HTML = "001A", "0037", "1000", "1013"
_SENDER, _SENDER_ADDRESS, _SENDER_SMTP, _TO, _CC = "0C1A", "0C1F", "5D01", "0E04", "0E03"
_FILE_NAMES = ("3707", "3704", "3001")
_DATA = "__substg1.0_37010102"
_EMBEDDED = "__substg1.0_3701000D"
_SENT, _DELIVERED = 0x0039, 0x0E06
_TIME_TYPE = 0x0040
_PROPERTY = struct.Struct("<HHIQ")
_ROOT_HEADER, _EMBEDDED_HEADER = 32, 24
_MOST_ATTACHMENTS = 1000
_EXCHANGE_ADDRESS = re.compile(r"^/o=", re.IGNORECASE)

_Path = tuple[str, ...]


class MsgLoader:
    """Reads mails that Outlook saved."""

    name = "msg"
    version = f"1 olefile {olefile.__version__}"
    media_types = frozenset({MSG})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        try:
            with olefile.OleFileIO(io.BytesIO(data)) as file:
                reader = _Reader(file, name)
                mail, message_class = reader.mail((), 1), reader.text((), _CLASS)
        except (OSError, ValueError, struct.error, IndexError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableDocument(
                f"{shown(name)} is a damaged Outlook message", fix="Open it in Outlook and save it again"
            ) from error
        if not mail.has_text and "smime" in message_class.lower() and "multipartsigned" not in message_class.lower():
            raise encrypted(name)
        writer = MarkdownWriter(limits.max_text_chars)
        write_mail(mail, name, writer)
        return writer.document(name=name, media_type=MSG, parser=parser_id(self), title=mail.subject)


class _Reader:
    """The mails in one OLE file; each lies in a folder of it, given by its path."""

    def __init__(self, file: olefile.OleFileIO, name: str) -> None:
        self._file = file
        self._name = name
        self._paths = {tuple(path) for path in file.listdir()}

    def mail(self, folder: _Path, depth: int) -> Mail:
        attachments: list[Attachment] = []
        enclosed: list[Mail] = []
        for inner in self._attachments(folder):
            label = next(filter(None, (self.text(inner, number) for number in _FILE_NAMES)), "unnamed")
            embedded = (*inner, _EMBEDDED)
            if depth < DEEPEST and (*embedded, "__properties_version1.0") in self._paths:
                enclosed.append(self.mail(embedded, depth + 1))
            else:
                attachments.append(Attachment(label, self._bytes((*inner, _DATA))))
        return Mail(
            subject=self.text(folder, _SUBJECT),
            lines=[
                ("From", self._sender(folder)),
                ("To", self.text(folder, _TO)),
                ("Cc", self.text(folder, _CC)),
                ("Date", self._date(folder)),
            ],
            bodies=self._bodies(folder),
            attachments=attachments,
            enclosed=enclosed,
        )

    def text(self, folder: _Path, number: str) -> str:
        """Return a property that is text; empty where there is none."""
        wide = self._bytes((*folder, f"__substg1.0_{number}001F"))
        if wide:
            return wide.decode("utf-16-le", errors="replace").rstrip("\x00")
        narrow = self._bytes((*folder, f"__substg1.0_{number}001E")).rstrip(b"\x00")
        try:
            return decode(narrow, self._name)
        except UnreadableDocument:
            return narrow.decode("cp1252", errors="replace")

    def _bodies(self, folder: _Path) -> Sequence[tuple[Literal["plain", "html"], str]]:
        plain = self.text(folder, _BODY)
        if plain.strip():
            return [("plain", plain)]
        page = self._bytes((*folder, f"__substg1.0_{_HTML}0102"))
        text = decode_html(page, self._name) if page else self.text(folder, _HTML)
        return [("html", text)] if text.strip() else []

    def _sender(self, folder: _Path) -> str:
        name = self.text(folder, _SENDER)
        address = self.text(folder, _SENDER_SMTP) or self.text(folder, _SENDER_ADDRESS)
        if not address or _EXCHANGE_ADDRESS.match(address) or address == name:
            return name
        return f"{name} <{address}>".strip()

    def _date(self, folder: _Path) -> str:
        stream = self._bytes((*folder, "__properties_version1.0"))
        start = _EMBEDDED_HEADER if folder else _ROOT_HEADER
        whole = start + (len(stream) - start) // _PROPERTY.size * _PROPERTY.size
        times = {
            number: value
            for kind, number, _, value in _PROPERTY.iter_unpack(stream[start:whole])
            if kind == _TIME_TYPE and number in (_SENT, _DELIVERED)
        }
        ticks = times.get(_SENT) or times.get(_DELIVERED)
        if not ticks:
            return ""
        try:
            return f"{datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10):%Y-%m-%d %H:%M} UTC"
        except OverflowError:
            return ""

    def _attachments(self, folder: _Path) -> list[_Path]:
        depth = len(folder)
        found = {path[: depth + 1] for path in self._paths if path[:depth] == folder and len(path) > depth + 1}
        return sorted(path for path in found if path[-1].startswith("__attach_version1.0_"))[:_MOST_ATTACHMENTS]

    def _bytes(self, path: _Path) -> bytes:
        if path not in self._paths:
            return b""
        data: bytes = self._file.openstream(list(path)).read()
        return data

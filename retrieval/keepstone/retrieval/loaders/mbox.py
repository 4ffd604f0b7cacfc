"""Mailboxes (.mbox, RFC 4155): many mails in one file, as Thunderbird, Google Takeout and list archives save them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.policy import compat32

from keepstone.retrieval.loaders.base import LoadLimits, parser_id, stem
from keepstone.retrieval.loaders.detect import MBOX, MBOX_MAIL
from keepstone.retrieval.loaders.eml import mail_of
from keepstone.retrieval.loaders.mail import write_mail
from keepstone.retrieval.loaders.writer import MarkdownWriter
from keepstone.retrieval.types import Document

# Lines of a mail that begin like the line between two mails are marked.
_MARKED = re.compile(rb"^>(>*From )", re.MULTILINE)


class MboxLoader:
    """Reads mailboxes: each mail under its subject."""

    name = "mbox"
    version = "1"
    media_types = frozenset({MBOX})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        writer = MarkdownWriter(limits.max_text_chars)
        for number, raw in enumerate(_mails(data), start=1):
            mail = mail_of(message_from_bytes(_MARKED.sub(rb"\1", raw), policy=compat32), name)
            write_mail(replace(mail, subject=mail.subject.strip() or f"Mail {number}"), name, writer)
        return writer.document(name=name, media_type=MBOX, parser=parser_id(self), title=stem(name))


def _mails(data: bytes) -> Iterator[bytes]:
    starts = [found.start("mail") for found in MBOX_MAIL.finditer(data)]
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        mail = data[start:end]
        yield mail[mail.find(b"\n") + 1 :]

"""Mails, and the OLE files that Outlook keeps them in, made on the spot."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from email.message import EmailMessage

_SECTOR = 512
_NO_STREAM = 0xFFFFFFFF
_END_OF_CHAIN = 0xFFFFFFFE
_FAT_SECTOR = 0xFFFFFFFD
# Streams below it would lie in a stream of small sectors; zeros at their ends are what readers of texts leave out.
_SMALLEST_STREAM = 4096


def mail_file() -> bytes:
    """Return a mail with two alternative texts, a text file, a picture and a mail that is forwarded with it."""
    mail = EmailMessage()
    mail["Subject"] = "Wartung der Pumpe P-40: Übersicht"
    mail["From"] = "Jürgen Groß <juergen@example.org>"
    mail["To"] = "Service <service@example.org>"
    mail["Date"] = "Tue, 03 Mar 2026 10:00:00 +0100"
    mail["Message-ID"] = "<1@example.org>"
    mail.set_content("Clean the filter daily.\n\n# no heading\n")
    mail.add_alternative("<html><body><p>Clean the <b>filter</b> daily, in HTML.</p></body></html>", subtype="html")
    mail.add_attachment("Torque: 40 Nm\n", filename="notes.txt")
    mail.add_attachment(b"%PDF-1.7 and so on", maintype="application", subtype="pdf", filename="manual.pdf")
    forwarded = EmailMessage()
    forwarded["Subject"] = "Spare parts"
    forwarded["From"] = "parts@example.org"
    forwarded.set_content("The screws come in bags of four.")
    mail.add_attachment(forwarded)
    return mail.as_bytes()


def mailbox_file() -> bytes:
    """Return a mailbox with that mail and a short one."""
    short = b"Subject: Parts\nFrom: b@example.org\nMessage-ID: <2@example.org>\n\n>From now on there are four.\n"
    line = b"From b@example.org Tue Mar  3 10:00:00 2026\n"
    return line + mail_file() + b"\n" + line + short


def outlook_file() -> bytes:
    """Return a mail as Outlook saves it, with a text file attached."""
    sent = int((1_772_528_400 + 11_644_473_600) * 1e7)  # 2026-03-03 09:00 UTC
    return ole_file(
        {
            "__properties_version1.0": bytes(32) + struct.pack("<HHIQ", 0x40, 0x39, 6, sent),
            "__substg1.0_001A001F": "IPM.Note".encode("utf-16-le"),
            "__substg1.0_0037001F": "Wartung der Pumpe: Übersicht".encode("utf-16-le"),
            "__substg1.0_0C1A001F": "Jürgen Groß".encode("utf-16-le"),
            "__substg1.0_0C1F001E": b"juergen@example.org",
            "__substg1.0_0E04001F": "Service".encode("utf-16-le"),
            "__substg1.0_1000001F": "Clean the filter daily.\r\n\r\nThank you.".encode("utf-16-le"),
            "__attach_version1.0_#00000000": {
                "__properties_version1.0": bytes(8),
                "__substg1.0_3707001F": "notes.txt".encode("utf-16-le"),
                "__substg1.0_37010102": b"Torque: 40 Nm".ljust(_SMALLEST_STREAM),
            },
        }
    )


Folder = Mapping[str, "bytes | Folder"]


def ole_file(root: Folder) -> bytes:
    """Return an OLE file (MS-CFB, version 3) with the given streams and folders."""
    entries: list[bytes] = []
    data: list[bytes] = []
    chains: list[int] = []

    def add(name: str, kind: int, child: int, right: int, start: int, size: int) -> int:
        encoded = name.encode("utf-16-le") + b"\x00\x00"
        links = struct.pack("<64sHBBIII", encoded, len(encoded), kind, 1, _NO_STREAM, right, child)
        entries.append(links + bytes(36) + struct.pack("<IQ", start, size))
        return len(entries) - 1

    def store(content: bytes) -> tuple[int, int]:
        content = content.ljust(max(_SMALLEST_STREAM, -(-len(content) // _SECTOR) * _SECTOR), b"\x00")
        start, count = len(chains), len(content) // _SECTOR
        data.extend(content[at : at + _SECTOR] for at in range(0, len(content), _SECTOR))
        chains.extend([*range(start + 1, start + count), _END_OF_CHAIN])
        return start, len(content)

    def add_all(folder: Folder) -> int:
        following = _NO_STREAM
        for name, content in sorted(folder.items(), reverse=True):
            if isinstance(content, bytes):
                following = add(name, 2, _NO_STREAM, following, *store(content))
            else:
                following = add(name, 1, add_all(content), following, 0, 0)
        return following

    entries.append(b"")
    first = add_all(root)
    add("Root Entry", 5, first, _NO_STREAM, _END_OF_CHAIN, 0)
    entries[0] = entries.pop()
    directory = b"".join(entries)
    start, _ = store(directory.ljust(-(-len(directory) // _SECTOR) * _SECTOR, b"\x00"))
    fat_count = next(count for count in range(1, 100) if count * 128 >= len(chains) + count)
    fat = [*chains, *[_FAT_SECTOR] * fat_count]
    fat += [_NO_STREAM] * (fat_count * 128 - len(fat))
    header = struct.pack(
        "<8s16xHHHHH6x9I",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6, 0, fat_count, start, 0, _SMALLEST_STREAM,
        _END_OF_CHAIN, 0, _END_OF_CHAIN, 0,
    )  # fmt: skip
    places = [len(chains) + number for number in range(fat_count)]
    header += struct.pack("<109I", *places, *[_NO_STREAM] * (109 - fat_count))
    return header + b"".join(data) + struct.pack(f"<{len(fat)}I", *fat)

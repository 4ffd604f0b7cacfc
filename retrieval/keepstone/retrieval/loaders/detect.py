"""Tells what a file is: by its content first, by its name only where the content leaves a choice.

A wrong ending does no harm: a PDF called notes.txt is read as a PDF. What Keepstone cannot read is refused with the
name of what it looks like.
"""

from __future__ import annotations

import io
import re
import zipfile
from itertools import islice
from pathlib import PurePath

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import SUPPORTED, empty, shown
from keepstone.retrieval.loaders.code_languages import language_of
from keepstone.retrieval.loaders.encoding import decode

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PNG = "image/png"
JPEG = "image/jpeg"
TIFF = "image/tiff"
EML = "message/rfc822"
MBOX = "application/mbox"
MSG = "application/vnd.ms-outlook"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ODS = "application/vnd.oasis.opendocument.spreadsheet"
ODT = "application/vnd.oasis.opendocument.text"
EPUB = "application/epub+zip"
HTML = "text/html"
MARKDOWN = "text/markdown"
SOURCE = "text/x-source-code"
RST = "text/x-rst"
PLAIN = "text/plain"
PASSAGE = "application/vnd.keepstone.passage+json"
PASSAGE_START = '{"keepstone": "passage/1", '
CSV = "text/csv"
TSV = "text/tab-separated-values"
JSON = "application/json"
NOTEBOOK = "application/x-ipynb+json"

_BY_ENDING = {
    ".md": MARKDOWN, ".markdown": MARKDOWN, ".mdown": MARKDOWN, ".mkd": MARKDOWN,
    ".html": HTML, ".htm": HTML, ".xhtml": HTML,
    ".rst": RST, ".rest": RST, ".csv": CSV, ".tsv": TSV, ".tab": TSV,
    ".json": JSON, ".jsonl": JSON, ".ndjson": JSON, ".geojson": JSON, ".ipynb": NOTEBOOK,
}  # fmt: skip
# Endings that promise no particular text: here Markdown is told by its looks.
_NOT_TEXT_ENDINGS = frozenset(
    {"", ".pdf", ".docx", ".doc", ".xlsx", ".pptx", ".ods", ".odt", ".epub", ".bin", ".dat", ".png", ".jpg", ".zip"}
)
_PICTURES = ((b"\x89PNG\r\n\x1a\n", PNG), (b"\xff\xd8\xff", JPEG), (b"II*\x00", TIFF), (b"MM\x00*", TIFF))
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"BM", "a bitmap image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"PAR1", "a Parquet table"),
    (b"{\\rtf", "a Rich Text (.rtf) document"),
    (b"%!PS", "a PostScript file"),
    (b"ID3", "a sound file"),
    (b"OggS", "a sound file"),
    (b"fLaC", "a sound file"),
    (b"RIFF", "a sound, video or WebP file"),
    (b"wOFF", "a font"),
    (b"wOF2", "a font"),
)
# These two-letter signatures begin ordinary English words as well, so they need binary data behind them.
_WEAK_SIGNATURES = frozenset({b"BM", b"MZ"})
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP_PARTS = (("xl/workbook.xml", XLSX), ("ppt/presentation.xml", PPTX), ("META-INF/container.xml", EPUB))
_ZIP_KINDS = (
    ("xl/", "a binary Excel workbook (.xlsb)"),
    ("ppt/", "a PowerPoint presentation without slides"),
    ("visio/", "a Visio drawing"),
    ("META-INF/MANIFEST.MF", "a Java archive"),
    ("content.xml", "an OpenDocument file"),
)
_ZIP_ENDINGS = {
    ".docx": "Word document", ".xlsx": "Excel workbook", ".pptx": "PowerPoint presentation", ".epub": "EPUB book",
    ".ods": "OpenDocument spreadsheet", ".odt": "OpenDocument text",
}  # fmt: skip
_HTML_START = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_ANY_TAG = re.compile(r"<[a-z][a-z0-9]*[\s/>]", re.IGNORECASE)
_JSON_LOOKS = re.compile(r"\s*(?:\{\s*\"|\[\s*\{)")
_NOTEBOOK_LOOKS = re.compile(r"\s*\{.*\"cell_type\"\s*:\s*\"(?:markdown|code|raw|heading)\"", re.DOTALL)
_MARKDOWN_LOOKS = re.compile(r"^(?:#{1,6} \S|```)", re.MULTILINE)
# Lines of a mail's header; what is no .eml file needs more than lines with colons to be one.
_MAIL_HEADER = re.compile(rb"(?:From [^\n]*\n)?(?:[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*){1,400}")
_MAIL_NAMES = re.compile(
    rb"^(?:from|to|subject|date|received|return-path|message-id|mime-version):", re.IGNORECASE | re.MULTILINE
)
_MAIL_SURE = re.compile(rb"^(?:message-id|mime-version|received):", re.IGNORECASE | re.MULTILINE)
_MAIL_ENDINGS = frozenset({".eml", ".mht", ".mhtml"})
MBOX_MAIL = re.compile(rb"(?:\A|\n\r?\n)(?P<mail>From [^\n]{1,500}\n)(?=[!-9;-~]+:)")
"""The line before each mail of a mailbox; it follows an empty one, and a header follows it."""


def detect(data: bytes, name: str) -> str:
    """Return the media type of a file that can be read.

    Raises:
        UnreadableDocument: empty, or of a kind that is not supported; the message says what it looks like.
    """
    if not data.strip(b"\x00 \t\r\n\f\v\xef\xbb\xbf\xff\xfe"):
        raise empty(name)
    if b"%PDF-" in data[:1024] and (data.startswith(b"%PDF-") or b"endobj" in data):
        return PDF
    if data.startswith(b"PK\x03\x04"):
        return _detect_zip(data, name)
    if data.startswith(_OLE):
        if "__substg1.0_".encode("utf-16-le") in data:
            return MSG
        raise _old_office(data, name)
    picture = next((kind for signature, kind in _PICTURES if data.startswith(signature)), None)
    if picture:
        return picture
    _refuse_binary(data, name)
    return _mail_kind(data, PurePath(name).suffix.lower()) or _detect_text(
        decode(data[:65536], name) if len(data) > 65536 else decode(data, name), name
    )


def _refuse_binary(data: bytes, name: str) -> None:
    """Raise for what is known by its first bytes and cannot be read."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature) and not (signature in _WEAK_SIGNATURES and b"\x00" not in data[:64]):
            raise _unsupported(name, kind)
    if data[257:262] == b"ustar":
        raise _archive(name, "tar")
    if data[4:8] == b"ftyp":
        raise _unsupported(name, "a video or HEIC image")


def _mail_kind(data: bytes, ending: str) -> str | None:
    if data.startswith(b"From ") and len(list(islice(MBOX_MAIL.finditer(data), 2))) > (ending != ".mbox"):
        return MBOX
    return EML if _is_mail(data[:65536], ending) else None


def _is_mail(data: bytes, ending: str) -> bool:
    header = _MAIL_HEADER.match(data.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n"))
    if header is None:
        return False
    names = len({name.lower() for name in _MAIL_NAMES.findall(header[0])})
    return names >= 1 if ending in _MAIL_ENDINGS else names >= 3 and _MAIL_SURE.search(header[0]) is not None


def _detect_text(text: str, name: str) -> str:
    if text.startswith(PASSAGE_START):
        return PASSAGE
    text = text.lstrip("\ufeff")
    if not text.strip():
        raise empty(name)
    ending = PurePath(name).suffix.lower()
    named = _BY_ENDING.get(ending)
    if _HTML_START.match(text) or (named == HTML and _ANY_TAG.search(text)):
        return HTML
    if named in {JSON, NOTEBOOK} or (ending in _NOT_TEXT_ENDINGS and _JSON_LOOKS.match(text)):
        return NOTEBOOK if named == NOTEBOOK or _NOTEBOOK_LOOKS.match(text) else JSON
    if language_of(name, text[:200].partition("\n")[0]):
        return SOURCE
    if named == MARKDOWN or (ending in _NOT_TEXT_ENDINGS and _MARKDOWN_LOOKS.search(text)):
        return MARKDOWN
    return PLAIN if named in {None, HTML} else named


def _detect_zip(data: bytes, name: str) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, UnicodeError) as error:
        what = _ZIP_ENDINGS.get(PurePath(name).suffix.lower(), "zip archive")
        raise UnreadableDocument(
            f"{shown(name)} is a damaged {what} (its list of contents cannot be read; it is probably cut short)",
            fix="Upload the whole file again",
        ) from error
    if any(entry.startswith("word/") and entry.endswith(".xml") for entry in names):
        return DOCX
    for part, media_type in _ZIP_PARTS:
        if part in names:
            return media_type
    for media_type in (ODT, ODS):
        if b"mimetype" + media_type.encode() in data[:256]:
            return media_type
    for part, kind in _ZIP_KINDS:
        if any(entry.startswith(part) for entry in names):
            raise _unsupported(name, kind)
    raise _archive(name, "zip")


def _archive(name: str, kind: str) -> UnreadableDocument:
    return UnreadableDocument(
        f"{shown(name)} is a {kind} archive, which is opened only where it is handed in by itself",
        fix="Unpack it and upload the documents in it",
    )


def _old_office(data: bytes, name: str) -> UnreadableDocument:
    if "EncryptedPackage".encode("utf-16-le") in data:
        return UnreadableDocument(
            f"{shown(name)} is encrypted", fix="Open it in its program, remove the password, and upload it again"
        )
    return UnreadableDocument(
        f"{shown(name)} is in an Office format from before 2007 (.doc, .xls or .ppt)",
        fix="Open it in its program, save it as .docx, .xlsx, .pptx or PDF, and upload that",
    )


def _unsupported(name: str, kind: str) -> UnreadableDocument:
    return UnreadableDocument(f"{shown(name)} is {kind}, which cannot be read yet", fix=SUPPORTED)

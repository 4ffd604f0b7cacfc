"""Reads parts of an Office file (a zip of XML) within bounds, and parses them without entities or network."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib

from lxml import etree

from keepstone.platform.errors import LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders.base import shown
from keepstone.retrieval.loaders.xml_errors import check_complete

_MOST_ENTRIES = 20_000
_LARGEST_PART = 96 * 1024 * 1024
_STEP = 1 << 20


class OfficeZip:
    """The XML parts of an Office file.

    The sizes in a zip's directory may lie, so they are checked first, and the bytes are counted again while they
    are inflated. Only parts that are asked for are ever inflated.

    Raises:
        UnreadableDocument: no zip, a damaged one, or one with a password.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._name = name
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
            raise self._damaged("its list of contents cannot be read") from error
        entries = self._zip.infolist()
        if len(entries) > _MOST_ENTRIES:
            raise self._bomb()
        self._entries = {posixpath.normpath(entry.filename.lstrip("/")): entry for entry in entries}

    def part(self, path: str) -> etree._Element | None:
        """Return the root of an XML part, None when there is no such part.

        Raises:
            UnreadableDocument: it is damaged, encrypted, or declares entities.
            LimitExceeded: it is far too large.
        """
        entry = self._entries.get(posixpath.normpath(path.lstrip("/")))
        if entry is None:
            return None
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=True, recover=True,
            remove_comments=True, remove_pis=True,
        )  # fmt: skip
        try:
            root = etree.fromstring(self._inflate(entry), parser)
        except etree.XMLSyntaxError as error:
            check_complete(parser, self._name)
            raise self._damaged(f"{path} is no XML") from error
        check_complete(parser, self._name)
        if root is None:
            raise self._damaged(f"{path} is no XML")
        if root.getroottree().docinfo.doctype:
            raise self._damaged(f"{path} declares a document type, which Office files never do")
        return root

    def targets(self, path: str) -> dict[str, str]:
        """Return the parts that a part refers to: the last word of the relationship's type to the part's path."""
        folder, file = posixpath.split(path)
        relations = self.part(posixpath.join(folder, "_rels", f"{file}.rels"))
        found: dict[str, str] = {}
        for relation in relations if relations is not None else ():
            target = relation.get("Target", "")
            if relation.get("TargetMode") != "External":
                kind = relation.get("Type", "").rpartition("/")[2]
                found.setdefault(kind, posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/"))
        return found

    def _inflate(self, entry: zipfile.ZipInfo) -> bytes:
        if entry.flag_bits & 0x1:
            raise UnreadableDocument(
                f"{shown(self._name)} is encrypted", fix="Remove the password in Word and upload it again"
            )
        if entry.file_size > _LARGEST_PART:
            raise self._bomb()
        parts: list[bytes] = []
        size = 0
        try:
            with self._zip.open(entry) as stream:
                while block := stream.read(_STEP):
                    size += len(block)
                    if size > _LARGEST_PART:
                        raise self._bomb()
                    parts.append(block)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as error:
            raise self._damaged(f"{entry.filename[:80]!r} in it cannot be unpacked") from error
        return b"".join(parts)

    def _damaged(self, why: str) -> UnreadableDocument:
        return UnreadableDocument(
            f"{shown(self._name)} is a damaged Word document ({why})",
            fix="Open it in Word, save it again, and upload that",
        )

    def _bomb(self) -> LimitExceeded:
        return LimitExceeded(
            f"{shown(self._name)} unpacks to far more than a document should (a zip bomb?)",
            fix="Split the document, or save it as PDF",
        )

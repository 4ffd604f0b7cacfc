"""Reads parts of an Office file (a zip of XML) within bounds, and parses them without entities or network."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from lxml import etree

from keepstone.platform.errors import LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders.base import shown
from keepstone.retrieval.loaders.writer import one_line
from keepstone.retrieval.loaders.xml_errors import check_complete
from keepstone.retrieval.loaders.xml_tree import child

_MOST_ENTRIES = 20_000
_LARGEST_PART = 96 * 1024 * 1024
_LARGEST_SUM = 512 * 1024 * 1024
_STEP = 1 << 20
_SAFE = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": True, "recover": True}


@dataclass(frozen=True, slots=True)
class Relation:
    """What one part of an Office file says about another."""

    kind: str
    """The last word of the relationship's type, such as `slide`."""
    target: str
    """Path of the other part."""


class OfficeZip:
    """The parts of an Office file, or of another kind that is built like one.

    The sizes in a zip's directory may lie, so they are checked first, and the bytes are counted again while they
    are inflated. Only parts that are asked for are ever inflated.

    Args:
        data: the whole file.
        name: of the file, for messages.
        what: it should be, for messages, such as "Word document".
        program: that makes such files.

    Raises:
        UnreadableDocument: no zip, a damaged one, or one with a password.
    """

    def __init__(self, data: bytes, name: str, *, what: str, program: str) -> None:
        self._name = name
        self._what = what
        self._program = program
        self._inflated = 0
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
            raise self.damaged("its list of contents cannot be read") from error
        entries = self._zip.infolist()
        if len(entries) > _MOST_ENTRIES:
            raise self._bomb()
        self._entries = {posixpath.normpath(entry.filename.lstrip("/")): entry for entry in entries}

    def content(self, path: str) -> bytes | None:
        """Return the bytes of a part, None when there is no such part.

        Raises:
            UnreadableDocument: it is damaged or encrypted.
            LimitExceeded: it is far too large, or all parts together are.
        """
        entry = self._entries.get(posixpath.normpath(path.lstrip("/")))
        return None if entry is None else self._inflate(entry)

    def part(self, path: str, *, doctype: bool = False) -> etree._Element | None:
        """Return the root of an XML part, None when there is no such part.

        Args:
            path: of the part.
            doctype: whether it may declare a document type; entities are not resolved even so.

        Raises:
            UnreadableDocument: it is damaged, encrypted, or declares a document type.
            LimitExceeded: it is far too large, or all parts together are.
        """
        data = self.content(path)
        if data is None:
            return None
        parser = etree.XMLParser(remove_comments=True, remove_pis=True, dtd_validation=False, **_SAFE)
        try:
            root = etree.fromstring(data, parser)
        except etree.XMLSyntaxError as error:
            check_complete(parser, self._name)
            raise self.damaged(f"{path} is no XML") from error
        check_complete(parser, self._name)
        if root is None:
            raise self.damaged(f"{path} is no XML")
        if not doctype:
            self._refuse_doctype(root, path)
        etree.strip_elements(root, etree.Entity, with_tail=False)  # what is not resolved stands for nothing
        return root

    def elements(self, path: str, *names: str) -> Iterator[etree._Element]:
        """Yield the elements of some names in an XML part, each emptied after use, so that long parts need little room.

        Raises:
            UnreadableDocument, LimitExceeded: see `part`.
        """
        data = self.content(path)
        if data is None:
            return
        tags = tuple(f"{{*}}{name}" for name in names)
        events = etree.iterparse(io.BytesIO(data), tag=tags, remove_comments=True, remove_pis=True, **_SAFE)
        first = True
        try:
            for _, element in events:
                if first:
                    self._refuse_doctype(element, path)
                    first = False
                yield element
                element.clear(keep_tail=False)
                while element.getprevious() is not None:
                    del element.getparent()[0]
        except etree.XMLSyntaxError as error:
            raise self.damaged(f"{path} is no XML") from error
        check_complete(events, self._name)

    def relations(self, path: str) -> dict[str, Relation]:
        """Return the parts that a part refers to, by the ids under which it does."""
        folder, file = posixpath.split(path)
        root = self.part(posixpath.join(folder, "_rels", f"{file}.rels"))
        found: dict[str, Relation] = {}
        for relation in root if root is not None else ():
            if relation.get("TargetMode") != "External":
                target = unquote(relation.get("Target", ""))
                found.setdefault(
                    relation.get("Id", ""),
                    Relation(
                        relation.get("Type", "").rpartition("/")[2],
                        posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/"),
                    ),
                )
        return found

    def targets(self, path: str) -> dict[str, str]:
        """Return the parts that a part refers to, the first of each kind, by kind."""
        found: dict[str, str] = {}
        for relation in self.relations(path).values():
            found.setdefault(relation.kind, relation.target)
        return found

    def title(self) -> str:
        """Return the title in the file's metadata, "" where there is none."""
        found = child(self.part("docProps/core.xml"), "title")
        return one_line(found.text or "") if found is not None else ""

    def damaged(self, why: str) -> UnreadableDocument:
        """Return the error for a file that cannot be read, and why."""
        return UnreadableDocument(
            f"{shown(self._name)} is a damaged {self._what} ({why})",
            fix=f"Open it in {self._program}, save it again, and upload that",
        )

    def _refuse_doctype(self, element: etree._Element, path: str) -> None:
        if element.getroottree().docinfo.doctype:
            raise self.damaged(f"{path} declares a document type, which such files never do")

    def _inflate(self, entry: zipfile.ZipInfo) -> bytes:
        if entry.flag_bits & 0x1:
            raise UnreadableDocument(
                f"{shown(self._name)} is encrypted",
                fix=f"Remove the password in {self._program} and upload it again",
            )
        if entry.file_size > _LARGEST_PART:
            raise self._bomb()
        parts: list[bytes] = []
        size = 0
        try:
            with self._zip.open(entry) as stream:
                while block := stream.read(_STEP):
                    size += len(block)
                    if size > _LARGEST_PART or self._inflated + size > _LARGEST_SUM:
                        raise self._bomb()
                    parts.append(block)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as error:
            raise self.damaged(f"{entry.filename[:80]!r} in it cannot be unpacked") from error
        self._inflated += size
        return b"".join(parts)

    def _bomb(self) -> LimitExceeded:
        return LimitExceeded(
            f"{shown(self._name)} unpacks to far more than a document should (a zip bomb?)",
            fix="Split the document, or save it as PDF",
        )

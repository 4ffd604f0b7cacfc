"""Collections and documents, as their people see them: every call names its principal and is authorized.

Adding a document stores its bytes and marks it `queued`; `ingest` turns queued documents into chunks. Deleting takes
rows and chunks away in one transaction, so that no search finds them from that moment on; the indexes follow, and bytes
that no document refers to any more go at once (see `originals`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Final, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.access import (
    ROLES,
    Principal,
    allowed_actions,
    authorize,
    find_collection,
    readable_collections,
)
from keepstone.platform.blobs import BlobStore
from keepstone.platform.database import Database
from keepstone.platform.database.tables import (
    STOPPED,
    ChangeRow,
    ChunkRow,
    CollectionRow,
    DocumentRow,
    DocumentState,
    GrantRow,
    PrincipalRow,
)
from keepstone.platform.errors import Conflict, InvalidInput, KeepstoneError, NotFound, did_you_mean
from keepstone.platform.settings import ChunkingSettings
from keepstone.retrieval import originals
from keepstone.retrieval.adding import AddedDocument, add_files
from keepstone.retrieval.archives import ArchiveLimits, opened
from keepstone.retrieval.chunking import choose, chunking_of
from keepstone.retrieval.documents import DocumentInfo, document_info
from keepstone.retrieval.loaders.writer import page_at
from keepstone.retrieval.types import Heading, Page

_COLLECTION_NAME = re.compile(r"\w[\w .-]{0,62}", re.UNICODE)
# Well below the smallest limit on bound variables of a statement.
_IDS_PER_STATEMENT = 5000
DEFAULT_CHUNKING: Final = ChunkingSettings()


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection and how full it is."""

    id: str
    name: str
    description: str
    documents: int
    chunks: int
    encoder: str
    """Version of the encoder that it is searched with."""
    chunking: ChunkingSettings
    """How documents are cut that come in now."""
    own_chunking: bool
    """Whether that is its own choice; otherwise it follows the settings."""
    own_search: Mapping[str, Any] | None
    """In what it is searched otherwise than the settings say; None: in nothing."""
    adopted: Mapping[str, Any] | None
    """The comparison (`tuning`) whose advice was taken last, when (`at`), and what was chosen `before`."""
    can_write: bool
    can_delete: bool
    """Whether the collection itself, and who may use it, is theirs to change."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A document's text with what lies in it."""

    document: DocumentInfo
    text: str
    pages: tuple[Page, ...]
    headings: tuple[Heading, ...]


@dataclass(frozen=True, slots=True)
class PageBox:
    """A line of the original: its page, counted from 1, and its place in parts of that page, from the left and top."""

    page: int
    left: float
    top: float
    right: float
    bottom: float


class Library:
    """The collections of one installation.

    Args:
        database: where the rows are.
        blobs: where the bytes are.
        encoder_version: version of the encoder that new collections are indexed with.
        chunking: how the documents of collections without a choice of their own are cut.
        max_file_bytes: largest file accepted.
        archives: how much an archive may hold.
        on_change: called after chunks were removed, with the collection's id, so that its indexes follow at once.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        encoder_version: str,
        chunking: ChunkingSettings = DEFAULT_CHUNKING,
        max_file_bytes: int,
        archives: ArchiveLimits | None = None,
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._encoder_version = encoder_version
        self._chunking = chunking
        self._max_file_bytes = max_file_bytes
        self._archives = archives or ArchiveLimits()
        self._on_change = on_change

    def create_collection(
        self, principal: Principal, name: str, description: str = "", *, chunking: Mapping[str, Any] | None = None
    ) -> CollectionInfo:
        """Make an empty collection that `principal` owns.

        Args:
            principal: who makes it.
            name: not taken yet.
            description: what is in it.
            chunking: in what its documents are to be cut otherwise than the settings say, as `chunking.choose` reads
                it; None: in nothing, now and when the settings change.

        Raises:
            InvalidInput: the name cannot be used, or chunking cannot be set so.
            Conflict: it is taken.
        """
        name = unicodedata.normalize("NFC", name).strip()
        if not _COLLECTION_NAME.fullmatch(name):
            raise InvalidInput(
                f"A collection cannot be named {name[:80]!r}",
                fix="Use 1 to 63 letters, digits, spaces, dots, dashes or underscores; begin with a letter or digit",
            )
        principal.needs_scope("write")
        chosen = choose(self._chunking, chunking).model_dump() if chunking else None
        with self._database.transaction() as session:
            if session.scalar(sa.select(CollectionRow.id).where(CollectionRow.name == name)):
                raise Conflict(f"A collection named {name!r} exists already", fix="Choose another name")
            row = CollectionRow(
                name=name,
                description=description,
                owner_id=principal.id,
                encoder=self._encoder_version,
                chunking=chosen,
            )
            session.add(row)
            session.flush()
            return self._infos(session, principal, [row])[0]

    def collections(self, principal: Principal) -> list[CollectionInfo]:
        """Return every collection that `principal` may read, by name."""
        with self._database.reading() as session:
            return self._infos(session, principal, readable_collections(session, principal))

    def collection(self, principal: Principal, name: str) -> CollectionInfo:
        """Return one collection by name or id."""
        with self._database.reading() as session:
            return self._infos(session, principal, [find_collection(session, principal, name)])[0]

    def delete_collection(self, principal: Principal, name: str) -> None:
        """Remove a collection with all its documents; only its owner and administrators may."""
        with self._database.transaction() as session:
            row = find_collection(session, principal, name, "own")
            collection_id = row.id
            hashes = sa.select(DocumentRow.sha256, DocumentRow.pending_sha256)
            dropped = session.execute(hashes.where(DocumentRow.collection_id == collection_id)).all()
            session.execute(sa.delete(ChunkRow).where(ChunkRow.collection_id == collection_id))
            session.execute(sa.delete(DocumentRow).where(DocumentRow.collection_id == collection_id))
            session.execute(sa.delete(ChangeRow).where(ChangeRow.collection_id == collection_id))
            session.delete(row)
        self._on_change(collection_id)
        originals.release(self._database, self._blobs, [name for pair in dropped for name in pair])

    def grant(self, principal: Principal, name: str, to: str, role: str) -> None:
        """Give the principal named `to` a role in a collection."""
        if role not in ROLES:
            raise InvalidInput(f"No role {role!r}", fix=did_you_mean(role, list(ROLES)))
        with self._database.transaction() as session:
            collection = find_collection(session, principal, name, "own")
            who = _principal_named(session, to)
            session.merge(GrantRow(collection_id=collection.id, principal_id=who.id, role=role))

    def revoke(self, principal: Principal, name: str, whom: str) -> None:
        """Take away what `grant` gave."""
        with self._database.transaction() as session:
            collection = find_collection(session, principal, name, "own")
            who = _principal_named(session, whom)
            session.execute(
                sa.delete(GrantRow).where(GrantRow.collection_id == collection.id, GrantRow.principal_id == who.id)
            )

    def add_document(self, principal: Principal, collection: str, name: str, stream: BinaryIO) -> AddedDocument:
        """Store a file's bytes and queue it, as `add_documents` does.

        Raises:
            InvalidInput: the name cannot be used.
            LimitExceeded: the file is larger than `ingestion.max_file_mb`.
            StorageFull: no room; nothing was stored.
        """
        [added] = self.add_documents(principal, collection, [(name, stream)])
        if isinstance(added, KeepstoneError):
            raise added
        return added

    def add_documents(
        self, principal: Principal, collection: str, files: Iterable[tuple[str, BinaryIO | KeepstoneError]]
    ) -> list[AddedDocument | KeepstoneError]:
        """Store the bytes of files and queue them, each as one document; the same bytes twice make nothing new.

        Args:
            principal: who hands them in; needs to write in the collection.
            collection: name or id.
            files: each one's name, or its path below the folder that is being ingested, and its bytes, read once before
                the next is asked for; an error in the place of bytes is returned.

        Returns:
            For each file what became of it, or its error, in their order.

        Raises:
            NotFound: there is no such collection.
            Forbidden: they may not write there.
        """
        return self._add(principal, collection, files)

    def hand_in(
        self, principal: Principal, collection: str, files: Iterable[tuple[str, BinaryIO]]
    ) -> list[tuple[str, AddedDocument | KeepstoneError]]:
        """Add files as people hand them in: as `add_documents`, and of an archive each member as a document.

        Returns:
            For each file, or member, its name and what became of it or its error. A member's name begins with that of
            its archive: `manuals.zip/pumps/p40.md`.
        """
        names: list[str] = []

        def noted() -> Iterator[tuple[str, BinaryIO | KeepstoneError]]:
            for name, stream in opened(files, self._archives):
                names.append(name)
                yield name, stream

        return list(zip(names, self._add(principal, collection, noted()), strict=True))

    def _add(
        self, principal: Principal, collection: str, files: Iterable[tuple[str, BinaryIO | KeepstoneError]]
    ) -> list[AddedDocument | KeepstoneError]:
        with self._database.reading() as session:
            collection_id = find_collection(session, principal, collection, "write").id

        def may_write(session: Session) -> None:
            find_collection(session, principal, collection_id, "write")

        return add_files(
            self._database, self._blobs, collection_id, files, max_bytes=self._max_file_bytes, check=may_write
        )

    def documents(
        self,
        principal: Principal,
        collection: str,
        *,
        after: str | None = None,
        limit: int = 100,
        offset: int = 0,
        containing: str = "",
        states: Collection[DocumentState] = (),
    ) -> list[DocumentInfo]:
        """Return documents of a collection by name.

        Args:
            principal: who asks.
            collection: name or id.
            after: begin behind this name.
            limit: how many at most.
            offset: how many to pass over.
            containing: only documents with this in their names, in whatever case.
            states: only documents in these states; empty means all.
        """
        with self._database.reading() as session:
            query = sa.select(DocumentRow).where(*_named(session, principal, collection, containing))
            if states:
                query = query.where(DocumentRow.state.in_(states))
            if after is not None:
                query = query.where(DocumentRow.name > after)
            return [
                document_info(row)
                for row in session.scalars(query.order_by(DocumentRow.name).limit(limit).offset(offset))
            ]

    def count_documents(
        self, principal: Principal, collection: str, *, containing: str = ""
    ) -> dict[DocumentState, int]:
        """Return how many documents of a collection are in which state; states without any are left out."""
        with self._database.reading() as session:
            query = (
                sa.select(DocumentRow.state, sa.func.count())
                .where(*_named(session, principal, collection, containing))
                .group_by(DocumentRow.state)
            )
            return {DocumentState(state): count for state, count in session.execute(query)}

    def documents_by_id(self, principal: Principal, collection: str, ids: Sequence[str]) -> list[DocumentInfo]:
        """Return those of the named documents that are in the collection, by name."""
        with self._database.reading() as session:
            collection_id = find_collection(session, principal, collection).id
            found: list[DocumentRow] = []
            for start in range(0, len(ids), _IDS_PER_STATEMENT):
                some = DocumentRow.id.in_(ids[start : start + _IDS_PER_STATEMENT])
                found += session.scalars(sa.select(DocumentRow).where(DocumentRow.collection_id == collection_id, some))
            return sorted((document_info(row) for row in found), key=lambda info: info.name)

    def document(self, principal: Principal, document_id: str) -> DocumentInfo:
        """Return one document."""
        with self._database.reading() as session:
            return document_info(_find_document(session, principal, document_id))

    def document_text(self, principal: Principal, document_id: str) -> DocumentText:
        """Return one document with its text.

        Raises:
            Conflict: it has no text, since it is not ready yet or failed.
        """
        with self._database.reading() as session:
            row = _find_document(session, principal, document_id)
            if row.text is None:
                raise Conflict(f"{row.name!r} has no text yet", fix=row.error or "Wait until it is ready")
            return DocumentText(
                document=document_info(row),
                text=row.text,
                pages=tuple(Page(*page) for page in row.pages or ()),
                headings=tuple(Heading(*heading) for heading in row.headings or ()),
            )

    def boxes(self, principal: Principal, document_id: str, start: int, end: int) -> list[PageBox]:
        """Return where the characters `start` to `end` of a document's text stand in the original, line by line.

        Empty for formats other than PDF, for scans, and for what was read before places were kept.
        """
        with self._database.reading() as session:
            row = _find_document(session, principal, document_id)
            pages = [Page(*page) for page in row.pages or ()]
            return [
                PageBox(number, *place)
                for first, last, *place in row.boxes or ()
                if first < end and last > start and (number := page_at(pages, first)) is not None
            ]

    def document_bytes(self, principal: Principal, document_id: str) -> tuple[DocumentInfo, BinaryIO]:
        """Return one document and its original bytes, to be closed by the caller."""
        missed: str | None = None
        while True:
            with self._database.reading() as session:
                row = _find_document(session, principal, document_id)
                info, sha256 = document_info(row), row.sha256 or row.pending_sha256
            if sha256 is None:
                raise NotFound(f"The original of {info.name!r} is not stored")
            try:
                return info, self._blobs.open(sha256)
            except NotFound:
                if sha256 == missed:
                    raise
                missed = sha256  # a new version may just have taken its place

    def delete_document(self, principal: Principal, document_id: str) -> DocumentInfo:
        """Remove a document from the collection, its indexes and all future answers, at once, and its bytes with it."""
        with self._database.transaction() as session:
            row = _find_document(session, principal, document_id, "write")
            info, dropped = document_info(row), [row.sha256, row.pending_sha256]
            self._database.lock_changes(session)
            remove_chunks(session, row)
            session.delete(row)
        self._on_change(info.collection_id)
        originals.release(self._database, self._blobs, dropped)
        return info

    def requeue(self, principal: Principal, collection: str, document_ids: Sequence[str] | None = None) -> list[str]:
        """Queue failed and cancelled documents again and return their ids.

        Args:
            principal: needs to write in the collection.
            collection: name or id.
            document_ids: which; None means all that failed or were cancelled.
        """
        with self._database.transaction() as session:
            collection_id = find_collection(session, principal, collection, "write").id
            query = sa.select(DocumentRow).where(
                DocumentRow.collection_id == collection_id, DocumentRow.state.in_(STOPPED)
            )
            if document_ids is not None:
                query = query.where(DocumentRow.id.in_(document_ids))
            rows = list(session.scalars(query.order_by(DocumentRow.created_at, DocumentRow.id)))
            for row in rows:
                row.state, row.error = DocumentState.QUEUED, None
                row.pending_sha256 = row.pending_sha256 or row.sha256
            return [row.id for row in rows]

    def _infos(self, session: Session, principal: Principal, rows: list[CollectionRow]) -> list[CollectionInfo]:
        passages = sa.func.coalesce(sa.func.sum(DocumentRow.chunk_count), 0)
        found = session.execute(
            sa.select(DocumentRow.collection_id, sa.func.count(), passages)
            .where(DocumentRow.collection_id.in_([row.id for row in rows]))
            .group_by(DocumentRow.collection_id)
        )
        counts = {collection_id: (documents, chunks) for collection_id, documents, chunks in found}
        infos: list[CollectionInfo] = []
        for row in rows:
            documents, chunks = counts.get(row.id, (0, 0))
            allowed = allowed_actions(session, principal, row)
            infos.append(
                CollectionInfo(
                    id=row.id,
                    name=row.name,
                    description=row.description,
                    documents=documents,
                    chunks=int(chunks),
                    encoder=row.encoder,
                    chunking=chunking_of(row, self._chunking),
                    own_chunking=row.chunking is not None,
                    own_search=row.search,
                    adopted=row.adopted,
                    can_write="write" in allowed,
                    can_delete="own" in allowed,
                    created_at=row.created_at,
                )
            )
        return infos


def remove_chunks(session: Session, document: DocumentRow) -> int:
    """Delete a document's chunks and tell the indexes; the caller holds `Database.lock_changes`.

    Returns:
        How many there were.
    """
    ids = list(session.scalars(sa.select(ChunkRow.id).where(ChunkRow.document_id == document.id).order_by(ChunkRow.id)))
    if ids:
        session.execute(sa.delete(ChunkRow).where(ChunkRow.document_id == document.id))
        session.execute(
            sa.insert(ChangeRow),
            [{"collection_id": document.collection_id, "chunk_id": each, "added": False} for each in ids],
        )
    return len(ids)


def _named(
    session: Session, principal: Principal, collection: str, containing: str
) -> tuple[sa.ColumnElement[bool], ...]:
    in_collection = DocumentRow.collection_id == find_collection(session, principal, collection).id
    if not containing:
        return (in_collection,)
    return in_collection, DocumentRow.name.icontains(containing, autoescape=True)


def _find_document(
    session: Session, principal: Principal, document_id: str, action: Literal["read", "write"] = "read"
) -> DocumentRow:
    row = session.get(DocumentRow, document_id)
    collection = session.get(CollectionRow, row.collection_id) if row else None
    if row is None or collection is None:
        raise NotFound(f"No document {document_id!r}", fix="It may have been deleted; list what is there")
    try:
        authorize(session, principal, action, collection)
    except NotFound as error:
        raise NotFound(f"No document {document_id!r}", fix="It may have been deleted; list what is there") from error
    return row


def _principal_named(session: Session, name: str) -> PrincipalRow:
    row = session.scalar(sa.select(PrincipalRow).where(PrincipalRow.name == name))
    if row is None:
        raise NotFound(f"Nobody is named {name!r}", fix="Add them: `keepstone keys create --for NAME`")
    return row

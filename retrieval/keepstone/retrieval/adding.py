"""Files that are handed in: their bytes are stored, and their documents are queued to be read.

Files are taken in some at a time, since each transaction costs as much as a small file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.blobs import BlobStore, Incoming
from keepstone.platform.database import Database
from keepstone.platform.database.tables import UNFINISHED, DocumentRow, DocumentState, utc_now
from keepstone.platform.errors import KeepstoneError
from keepstone.retrieval import originals
from keepstone.retrieval.documents import DocumentInfo, document_info
from keepstone.retrieval.names import clean_name, refuse_repeated

# While the last of them get their names, nobody else can write.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class AddedDocument:
    """What became of a file that was handed in."""

    document: DocumentInfo
    outcome: Literal["queued", "unchanged", "duplicate"]
    """`unchanged`: same name, same bytes. `duplicate`: same bytes under another name, which `document` shows."""


def add_files(
    database: Database,
    blobs: BlobStore,
    collection_id: str,
    files: Iterable[tuple[str, BinaryIO | KeepstoneError]],
    *,
    max_bytes: int,
    check: Callable[[Session], None],
) -> list[AddedDocument | KeepstoneError]:
    """Store files and queue them; return what became of each, in their order.

    Args:
        database: where the documents are.
        blobs: where the bytes go.
        collection_id: which the documents belong to.
        files: name and bytes of each, read before the next is asked for; an error in the place of bytes is returned.
        max_bytes: of one file.
        check: raises when they may not be added; called in the transaction that adds them.
    """
    added: list[AddedDocument | KeepstoneError] = []
    taken: set[str] = set()
    waiting = iter(files)
    while True:
        with ExitStack() as received:
            incoming = [_receive(received, blobs, file, max_bytes, taken) for file in islice(waiting, _AT_ONCE)]
            if not incoming:
                return added
            added += _refer(database, blobs, collection_id, incoming, check)


@dataclass(frozen=True, slots=True)
class _Received:
    name: str
    incoming: Incoming


def _receive(
    received: ExitStack, blobs: BlobStore, file: tuple[str, BinaryIO | KeepstoneError], max_bytes: int, taken: set[str]
) -> _Received | KeepstoneError:
    name, stream = file
    if isinstance(stream, KeepstoneError):
        return stream
    try:
        refuse_repeated(name, taken)
        return _Received(clean_name(name), received.enter_context(blobs.receive(stream, max_bytes=max_bytes)))
    except KeepstoneError as error:
        return error


def _refer(
    database: Database,
    blobs: BlobStore,
    collection_id: str,
    files: Sequence[_Received | KeepstoneError],
    check: Callable[[Session], None],
) -> list[AddedDocument | KeepstoneError]:
    """Store what was received, and let documents refer to it: all of it, or nothing."""
    incoming = [file.incoming for file in files if isinstance(file, _Received)]
    if not incoming:
        return [file for file in files if isinstance(file, KeepstoneError)]
    added: list[AddedDocument | KeepstoneError] = []
    released: list[str | None] = []
    try:
        with originals.referring(database, incoming) as session:
            check(session)
            for file in files:
                if isinstance(file, KeepstoneError):
                    added.append(file)
                    continue
                blob = file.incoming.blob
                document, dropped = _add_row(session, collection_id, file.name, blob.sha256, blob.size)
                added.append(document)
                released.append(dropped)
    except KeepstoneError as error:
        return [file if isinstance(file, KeepstoneError) else error for file in files]
    originals.release(database, blobs, released)
    return added


def _add_row(
    session: Session, collection_id: str, name: str, sha256: str, size: int
) -> tuple[AddedDocument, str | None]:
    """Return what became of it, and which bytes that document no longer waits for."""
    in_collection = sa.select(DocumentRow).where(DocumentRow.collection_id == collection_id)
    row = session.scalar(in_collection.where(DocumentRow.name == name))
    if row is not None:
        return _replace(row, sha256, size)
    same = _with_bytes(session, collection_id, sha256)
    if same is not None:
        return AddedDocument(document_info(same), "duplicate"), None
    row = DocumentRow(
        collection_id=collection_id, name=name, size=size, pending_sha256=sha256, state=DocumentState.QUEUED
    )
    session.add(row)
    session.flush()
    return AddedDocument(document_info(row), "queued"), None


def _with_bytes(session: Session, collection_id: str, sha256: str) -> DocumentRow | None:
    """Return a document of a collection that has these bytes, or waits for them.

    Two questions, each answered by an index: put as one, SQLite would read all documents of the collection.
    """
    usable = sa.select(DocumentRow).where(DocumentRow.state != DocumentState.FAILED)
    having = session.scalar(usable.where(DocumentRow.collection_id == collection_id, DocumentRow.sha256 == sha256))
    if having is not None:
        return having
    waiting = session.scalars(usable.where(DocumentRow.pending_sha256 == sha256))
    return next((row for row in waiting if row.collection_id == collection_id), None)


def _replace(row: DocumentRow, sha256: str, size: int) -> tuple[AddedDocument, str | None]:
    ready = row.state == DocumentState.READY and row.sha256 == sha256
    waiting = row.state in UNFINISHED and row.pending_sha256 == sha256
    if ready or waiting:
        return AddedDocument(document_info(row), "unchanged"), None
    dropped = row.pending_sha256
    row.pending_sha256, row.size = sha256, size
    row.state, row.error, row.updated_at = DocumentState.QUEUED, None, utc_now()
    return AddedDocument(document_info(row), "queued"), dropped

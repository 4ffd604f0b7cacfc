"""The original bytes of documents: stored with the first row that refers to them, removed after the last.

with blobs.receive(stream, max_bytes=limit) as incoming, originals.referring(database, [incoming]) as session:
    ...  # insert or change the row that names incoming.blob.sha256
...
originals.release(database, blobs, [sha256])  # after the commit that took a reference away

The table `blobs` lists what may be in the store on behalf of this database. A blob is listed before it is there, and
struck off after it is gone, so what is listed without a document is all that a kill can leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from keepstone.platform.blobs import BlobStore, Incoming
from keepstone.platform.database import Database
from keepstone.platform.database.tables import BlobRow, DocumentRow
from keepstone.platform.errors import KeepstoneError
from keepstone.retrieval.embeddings import batched

# As many as are removed in one go, while nobody can add any.
_REMOVED_AT_ONCE: Final = 50

_UNUSED: Final = sa.and_(
    ~sa.exists().where(DocumentRow.sha256 == BlobRow.sha256),
    ~sa.exists().where(DocumentRow.pending_sha256 == BlobRow.sha256),
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Audit:
    """Where documents and stored bytes do not match."""

    missing: tuple[str, ...]
    """Names of documents whose bytes are not stored."""
    strays: tuple[str, ...]
    """Hashes of stored bytes that this database knows nothing of."""


@contextmanager
def referring(database: Database, incoming: Sequence[Incoming]) -> Iterator[Session]:
    """Open the transaction that makes a document refer to received bytes; they are stored when it commits.

    The bytes get their name inside the transaction, under the lock that every removal holds while it looks for
    references and removes: whoever removes comes before, when the name is not there yet, or after, when the reference
    is committed. What takes long, receiving the bytes, was done before; what is left is to rename files or to move
    objects, during which SQLite has no other writer.
    """
    names = {each.blob.sha256 for each in incoming}
    while True:
        with database.transaction() as session:
            database.lock_blobs(session)
            for sha256 in sorted(names - _known(session, names)):
                session.add(BlobRow(sha256=sha256))
        with database.transaction() as session:
            database.lock_blobs(session)
            if _known(session, names) != names:
                continue  # struck off between the two: a kill from here on would leave what nobody knows of
            yield session
            for each in incoming:
                each.keep()
            return


def _known(session: Session, names: Iterable[str]) -> set[str]:
    return set(session.scalars(sa.select(BlobRow.sha256).where(BlobRow.sha256.in_(names))))


def release(database: Database, blobs: BlobStore, names: Iterable[str | None]) -> None:
    """Remove those of the named bytes that no document refers to any more; the caller has committed why.

    A store that does not answer is no error, since what the caller did stands: `collect_garbage` removes them later.
    """
    wanted = list({name for name in names if name})
    try:
        _remove(database, blobs, wanted)
    except (KeepstoneError, OSError) as error:
        log.warning("blobs_left", count=len(wanted), reason=str(error))


def collect_garbage(database: Database, blobs: BlobStore, *, limit: int = 10_000) -> int:
    """Remove bytes that no document refers to, those that a kill left, at most `limit`; return how many went."""
    with database.reading() as session:
        found = list(session.scalars(sa.select(BlobRow.sha256).where(_UNUSED).limit(limit)))
    return _remove(database, blobs, found)


def audit(database: Database, blobs: BlobStore) -> Audit:
    """Compare documents with what is stored; the app may be at work meanwhile."""
    stored = set(blobs.iterate())
    with database.reading() as session:
        listed = set(session.scalars(sa.select(BlobRow.sha256)))
        rows = session.execute(sa.select(DocumentRow.name, DocumentRow.sha256, DocumentRow.pending_sha256)).all()
    lost = {name for row in rows for name in (row.sha256, row.pending_sha256) if name and name not in stored}
    # Asked again, as they may have come or gone since the store was listed.
    lost = {name for name in lost if not blobs.exists(name)}
    return Audit(
        missing=tuple(sorted({row.name for row in rows if lost & {row.sha256, row.pending_sha256}})),
        strays=tuple(sorted(name for name in stored - listed if blobs.exists(name))),
    )


def _remove(database: Database, blobs: BlobStore, names: Sequence[str]) -> int:
    gone = 0
    for some in batched(names, _REMOVED_AT_ONCE):
        with database.transaction() as session:
            database.lock_blobs(session)
            unused = list(session.scalars(sa.select(BlobRow.sha256).where(BlobRow.sha256.in_(some), _UNUSED)))
            if unused:
                blobs.delete(*unused)
                session.execute(sa.delete(BlobRow).where(BlobRow.sha256.in_(unused)))
                gone += len(unused)
    return gone

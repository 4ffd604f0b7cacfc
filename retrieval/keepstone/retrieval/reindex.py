"""Another encoder for a collection: its index is built beside the one in use, and then takes its place in one step.

reindexing.build(collection_id, version)     # minutes to hours; searches go on under the encoder in use
searcher.search(scope, question, encoder=version)
reindexing.switch(collection_id, version)    # milliseconds, when it was built; to the previous one it goes the same way
reindexing.discard(collection_id, other)

Vectors go into the cache in small commits, so a build that was killed goes on where it was. What is added to the
collection meanwhile is encoded by `build` as well, which is why it may be called again at any time and is done quickly
when nothing is new. The switch is one transaction, which finds every passage's vector or does not happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from keepstone.platform.database import Database
from keepstone.platform.database.tables import (
    ChunkRow,
    CollectionRow,
    DocumentRow,
    IndexState,
    IndexVersionRow,
    utc_now,
)
from keepstone.platform.errors import Conflict, InvalidInput, KeepstoneError, ModelMissing, NotFound, Unavailable
from keepstone.retrieval import embeddings
from keepstone.retrieval.chunk_rows import INDEXED_TEXT, chunks_of
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes.catalog import IndexSet
from keepstone.retrieval.indexes.versions import index_versions
from keepstone.retrieval.late import embed_late, mark

# Passages encoded between two commits of the cache: what a kill can cost at most.
_SLICE = 512
# Documents that come in between a build and its switch are encoded before the next attempt.
_ATTEMPTS = 5
_ABANDONED_AFTER = timedelta(days=14)

log = structlog.get_logger(__name__)


def _tell_nobody(_done: int, _total: int) -> None:
    """Report to nobody."""


def _go_on() -> None:
    """Never stop."""


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """An index of a collection."""

    encoder: str
    """Version of the encoder."""
    state: IndexState
    created_at: datetime | None
    """None for the index of a collection that follows the settings."""


class Reindexing:
    """Builds, switches and discards indexes of collections under other encoders.

    None of its methods asks who may do this: that is for those who call it.

    Args:
        database: where the passages and their vectors are.
        encoders: make the vectors.
        indexes: of this process; those of others follow by themselves.
    """

    def __init__(self, database: Database, encoders: Encoders, indexes: IndexSet) -> None:
        self._database, self._encoders, self._indexes = database, encoders, indexes

    def versions(self, collection_id: str) -> tuple[IndexVersion, ...]:
        """Return the indexes of a collection, the one that it is searched with first.

        Raises:
            NotFound: there is no such collection.
        """
        with self._database.reading() as session:
            live = _collection(session, collection_id).encoder
            rows = {row.encoder: row for row in _rows(session, collection_id)}
        mine = rows.pop(live, None)
        return (
            IndexVersion(live, IndexState.LIVE, mine.created_at if mine else None),
            *(IndexVersion(row.encoder, IndexState(row.state), row.created_at) for row in rows.values()),
        )

    def build(
        self,
        collection_id: str,
        version: str,
        *,
        report: Callable[[int, int], None] = _tell_nobody,
        check: Callable[[], None] = _go_on,
    ) -> None:
        """Build the index of a collection under another encoder, or bring it up to the documents of today.

        Args:
            collection_id: whose.
            version: the encoder's, as `InstalledModel.reference` gives it.
            report: told how many of the passages have their vectors, and how many there are.
            check: called often; what it raises ends the work, which goes on with the next call.

        Raises:
            NotFound: there is no such collection.
            ModelMissing: the encoder is not installed.
            InvalidInput: the encoder is damaged.
            Conflict: the index was discarded meanwhile.
            Unavailable: documents came in faster than they could be encoded.
        """
        self._encoders.get(version)
        if self._begin(collection_id, version):
            self._bring_up(collection_id, version, report, check)

    def switch(self, collection_id: str, version: str) -> None:
        """Let searches use an index that was built, from now on; the one used until now is kept to switch back.

        The one that was kept until now is given up, unless it is the one switched to. Switching to the index in use
        changes nothing.

        Raises:
            NotFound: there is no such collection.
            Conflict: no index was built under this version.
            ModelMissing: the encoder is not installed any more.
            Unavailable: documents came in faster than they could be encoded.
        """
        for _ in range(_ATTEMPTS):
            with self._database.reading() as session:
                known = index_versions(session, collection_id).get(collection_id)
            if known is None:
                raise _no_collection(collection_id)
            if version not in known.kept_up:
                raise Conflict(
                    f"The collection has no complete index under {version!r}",
                    fix="Promote it, which builds one: `keepstone models promote`",
                )
            if version != known.live:
                self._bring_up(collection_id, version, _tell_nobody, _go_on)
            if self._switch(collection_id, version):
                log.info("encoder_switched", collection=collection_id, encoder=version)
                self._serve(collection_id)
                return
        raise _too_much_comes_in()

    def discard(self, collection_id: str, version: str) -> None:
        """Give up an index that is not in use; its vectors go with the next upkeep.

        Raises:
            Conflict: it is in use.
        """
        with self._database.transaction() as session:
            self._database.lock_changes(session)
            row = session.get(CollectionRow, collection_id)
            if row is not None and row.encoder == version:
                raise Conflict(f"{row.name!r} is searched under {version!r}", fix="Switch it to another encoder before")
            session.execute(sa.delete(IndexVersionRow).where(*_is(collection_id, version)))
        self._indexes.drop(collection_id, version)

    def tidy(self) -> None:
        """Discard what nobody has asked for lately: builds that were given up, candidates that were not promoted."""
        with self._database.reading() as session:
            old = IndexVersionRow.created_at < utc_now() - _ABANDONED_AFTER
            waits = IndexVersionRow.state.in_((IndexState.BUILDING, IndexState.READY))
            query = sa.select(IndexVersionRow.collection_id, IndexVersionRow.encoder).where(old, waits)
            abandoned = session.execute(query).all()
        for collection_id, version in abandoned:
            with suppress(Conflict):  # it was switched to meanwhile
                self.discard(collection_id, version)

    def follow(self, check: Callable[[], None] = _go_on) -> None:
        """Encode what was added since for the indexes that wait or are kept, so that switching to them stays quick."""
        with self._database.reading() as session:
            behind = [
                (collection_id, version)
                for collection_id, known in index_versions(session).items()
                for version in known.beside
                if _count(session, *embeddings.without_vector(collection_id, version))
            ]
        for collection_id, version in behind:
            try:
                self._bring_up(collection_id, version, _tell_nobody, check)
            except (ModelMissing, NotFound, Conflict, InvalidInput) as error:
                log.warning("index_left", collection=collection_id, encoder=version, reason=error.message)

    def _serve(self, collection_id: str) -> None:
        """Let the searches of this process follow at once; until then they use the former index, which is complete."""
        try:
            self._indexes.catch_up(collection_id)
        except (KeepstoneError, OSError) as error:
            # The switch is made all the same, and the thread of the indexes tries again.
            log.warning("searches_follow_later", collection=collection_id, reason=str(error))
            self._indexes.notify(collection_id)

    def _begin(self, collection_id: str, version: str) -> bool:
        """Note that an index is wanted, so that nobody tidies it away; return whether it is not the one in use."""
        with self._database.transaction() as session:
            if _collection(session, collection_id).encoder == version:
                return False
            row = session.get(IndexVersionRow, (collection_id, version))
            if row is None:
                session.add(IndexVersionRow(collection_id=collection_id, encoder=version, state=IndexState.BUILDING))
            else:
                row.created_at = utc_now()
        return True

    def _bring_up(
        self, collection_id: str, version: str, report: Callable[[int, int], None], check: Callable[[], None]
    ) -> None:
        for _ in range(_ATTEMPTS):
            self._encode(collection_id, version, report, check)
            check()
            self._indexes.complete(collection_id, version)
            self._indexes.save_one(collection_id, version)
            if self._is_ready(collection_id, version):
                return
        raise _too_much_comes_in()

    def _encode(
        self, collection_id: str, version: str, report: Callable[[int, int], None], check: Callable[[], None]
    ) -> None:
        """Make the vectors that are missing, slice by slice."""
        encoder = self._encoders.get(version)
        absent = embeddings.without_vector(collection_id, version)
        with self._database.reading() as session:
            total = _count(session, ChunkRow.collection_id == collection_id)
            done = total - _count(session, *absent)
        report(done, total)
        query = sa.select(ChunkRow.id, ChunkRow.document_id, ChunkRow.indexed_sha256, INDEXED_TEXT).where(*absent)
        last = 0
        while True:
            check()
            with self._database.reading() as session:
                rows = session.execute(query.where(ChunkRow.id > last).order_by(ChunkRow.id).limit(_SLICE)).all()
            if not rows:
                return
            alone = [row.indexed_text for row in rows if embeddings.text_hash(row.indexed_text) == row.indexed_sha256]
            self._keep(collection_id, version, embeddings.embed(self._database, encoder, alone))
            if len(alone) < len(rows):
                for document_id in dict.fromkeys(row.document_id for row in rows):
                    for embedded in self._late(document_id, encoder, check):
                        self._keep(collection_id, version, embedded)
            last, done = rows[-1].id, done + len(rows)
            report(min(done, total), total)

    def _late(self, document_id: str, encoder: Encoder, check: Callable[[], None]) -> Iterator[embeddings.Embedded]:
        """Yield the vectors of a document's passages, which were cut to be encoded as parts of it."""
        with self._database.reading() as session:
            text = session.scalar(sa.select(DocumentRow.text).where(DocumentRow.id == document_id)) or ""
            chunks = mark(text, chunks_of(session, document_id))
        yield from embed_late(self._database, encoder, text, chunks, check=check)

    def _keep(self, collection_id: str, version: str, embedded: embeddings.Embedded) -> None:
        if not np.isfinite(embedded.vectors).all():
            raise InvalidInput(f"The encoder {version!r} is damaged: its vectors hold no numbers", fix="Train it again")
        with self._database.transaction() as session:
            if session.get(IndexVersionRow, (collection_id, version)) is None:
                raise _discarded()
            embeddings.store(session, embedded.new_rows)

    def _is_ready(self, collection_id: str, version: str) -> bool:
        """Note that the index is complete, if no passage was added since."""
        with self._database.transaction() as session:
            self._database.lock_changes(session)
            if _count(session, *embeddings.without_vector(collection_id, version)):
                return False
            row = session.get(IndexVersionRow, (collection_id, version))
            if row is None:
                raise _discarded()
            if row.state == IndexState.BUILDING:
                row.state = IndexState.READY
            return True

    def _switch(self, collection_id: str, version: str) -> bool:
        """Switch in one transaction, if every passage has its vector; return whether it is done."""
        with self._database.transaction() as session:
            # Nobody commits or removes passages, or vectors, from here on.
            self._database.lock_changes(session)
            collection = _collection(session, collection_id)
            if collection.encoder == version:
                return True
            rows = {row.encoder: row for row in _rows(session, collection_id)}
            if version not in rows or _count(session, *embeddings.without_vector(collection_id, version)):
                return False
            for row in rows.values():
                if row.state == IndexState.PREVIOUS and row.encoder != version:
                    session.delete(row)
            former = rows.get(collection.encoder) or IndexVersionRow(
                collection_id=collection_id, encoder=collection.encoder
            )
            former.state = IndexState.PREVIOUS
            session.add(former)
            rows[version].state = IndexState.LIVE
            if version == self._encoders.default.version:
                # From now on it follows the settings again.
                session.delete(rows[version])
            collection.encoder = version
            return True


def _collection(session: Session, collection_id: str) -> CollectionRow:
    row = session.get(CollectionRow, collection_id)
    if row is None:
        raise _no_collection(collection_id)
    return row


def _rows(session: Session, collection_id: str) -> Sequence[IndexVersionRow]:
    mine = sa.select(IndexVersionRow).where(IndexVersionRow.collection_id == collection_id)
    return session.scalars(mine.order_by(IndexVersionRow.created_at, IndexVersionRow.encoder)).all()


def _is(collection_id: str, version: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return IndexVersionRow.collection_id == collection_id, IndexVersionRow.encoder == version


def _count(session: Session, *which: sa.ColumnElement[bool]) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(ChunkRow).where(*which)) or 0


def _no_collection(collection_id: str) -> NotFound:
    return NotFound(f"No collection {collection_id!r}", fix="It may have been deleted; list what is there")


def _discarded() -> Conflict:
    return Conflict("The index was discarded while it was being built", fix="Build it again")


def _too_much_comes_in() -> Unavailable:
    return Unavailable("Documents come in faster than they can be encoded", fix="Try again when they are in")

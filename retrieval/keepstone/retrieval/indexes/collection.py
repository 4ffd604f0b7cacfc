"""The index of one collection: its vectors and its words, fed from the change sequence of the database.

index = store.open(collection_id, encoder.version, encoder.dimension)  # see `backends`
index.catch_up(database)

Each half remembers its own position, so either may be lost and comes back alone. Every collection has its own index:
a search looks into those that its principal may read, and into nothing else.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
import structlog
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChangeRow, ChunkRow, EmbeddingRow
from keepstone.retrieval.analysis import tokens
from keepstone.retrieval.chunk_rows import INDEXED_TEXT
from keepstone.retrieval.embeddings import batched, from_bytes
from keepstone.retrieval.indexes.base import UNBUILT, ChunkIndex, LexicalIndex, Position, VectorIndex

_BATCH = 1000
_LISTED = 20
_SAMPLED_VECTORS = 50

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IdDifference:
    """In what the ids of an index differ from those of the database; a few of each kind are named."""

    missing: int
    extra: int
    some_missing: tuple[int, ...]
    some_extra: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class IndexReport:
    """Whether an index holds what the database does."""

    collection_id: str
    chunks: int
    """In the database."""
    vectors: IdDifference
    words: IdDifference
    wrong_vectors: tuple[int, ...]
    """Chunks of a sample whose vector in the index is not the database's."""

    @property
    def ok(self) -> bool:
        """Whether there is no difference."""
        return not any(
            (self.vectors.missing, self.vectors.extra, self.words.missing, self.words.extra, self.wrong_vectors)
        )


@dataclass(frozen=True, slots=True)
class _Row:
    """A chunk, as the indexes want it."""

    id: int
    text: str
    vector: NDArray[np.float32] | None
    """None while there is none of this encoder."""


@dataclass(frozen=True, slots=True)
class _Change:
    seq: int
    chunk_id: int
    added: bool


class CollectionIndex:
    """The vectors and the words of one collection.

    Args:
        collection_id: whose.
        vectors: one half.
        words: the other half.
        encoder_version: only vectors of this encoder are indexed; kept as an attribute.
        dimension: their length.
        alone: keeps other processes from changing the index, where they could.
    """

    def __init__(
        self,
        collection_id: str,
        vectors: VectorIndex,
        words: LexicalIndex,
        *,
        encoder_version: str,
        dimension: int,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.collection_id = collection_id
        self.vectors, self.words = vectors, words
        self.encoder_version, self._dimension = encoder_version, dimension
        self._lock, self._alone = threading.Lock(), alone

    @property
    def seq(self) -> int:
        """Number of the last change that both halves have applied; -1 before the index was built."""
        return min(self.vectors.position.seq, self.words.position.seq)

    @property
    def durable_seq(self) -> int:
        """Number of the last change that both halves would still have after a kill of the process."""
        return min(self.vectors.durable_position.seq, self.words.durable_position.seq)

    @property
    def memory_bytes(self) -> int:
        """Memory of both halves."""
        return self.vectors.memory_bytes + self.words.memory_bytes

    def catch_up(self, database: Database) -> int:
        """Apply what the database has and the index has not; return how many changes and chunks that were.

        A half that does not fit the database (never built, or ahead of a database that was put back) is built anew.
        """
        with self._applying():
            return self._catch_up(database)

    def fill(self, database: Database) -> int:
        """Take in the vectors that were made after their chunks had been applied; return how many there were."""
        with self._applying(), database.reading() as session:
            held = set(self.vectors.ids().tolist())
            absent = [each for each in session.scalars(self._with_vector()) if each not in held]
            for some in batched(absent, _BATCH):
                # Those that are removed meanwhile have a change ahead of this position, which takes them out again.
                self._apply(self.vectors, [], self._rows(session, some), self.vectors.position)
        return len(absent)

    def rebuild(self, database: Database) -> int:
        """Throw both halves away and build them from the chunks; return how many there are."""
        with self._applying():
            self.vectors.clear()
            self.words.clear()
            return self._catch_up(database)

    def verify(self, database: Database) -> IndexReport:
        """Catch up, then compare the ids of both halves with the database, and a sample of the vectors."""
        with self._applying():
            for _ in range(5):
                self._catch_up(database)
                with database.reading() as session:
                    if self._newest(session).seq <= self.seq:
                        break
            with database.reading() as session:
                return self._compare(session)

    def save(self) -> None:
        """Make all that was applied durable."""
        with self._lock:
            self.words.save()
            self.vectors.save()

    def close(self) -> None:
        """Let go of memory and files, without saving."""
        with self._lock:
            self.words.close()
            self.vectors.close()

    @contextmanager
    def _applying(self) -> Iterator[None]:
        """Let this thread alone, of all processes, change the index."""
        with self._lock, self._alone():
            yield

    def _catch_up(self, database: Database) -> int:
        with database.reading() as session:
            unfit = [half for half in self._halves if not self._fits(session, half.position)]
        for half in unfit:
            if half.position.seq > 0:  # before that it held nothing
                log.warning("index_rebuilt", collection=self.collection_id, half=type(half).__name__)
            half.clear()
        applied = self._build(database, unfit) if unfit else 0
        while changed := self._apply_batch(database):
            applied += changed
        return applied

    @property
    def _halves(self) -> tuple[ChunkIndex, ChunkIndex]:
        return self.vectors, self.words

    def _fits(self, session: Session, position: Position) -> bool:
        """Tell whether the change at which an index stands is still in the database, the same as it was.

        Changes are pruned only behind the position of every index, so an index whose change is gone missed some.
        """
        if position == UNBUILT:
            return False
        mine = sa.select(ChangeRow.seq).where(ChangeRow.collection_id == self.collection_id)
        if position.seq == 0:
            return session.scalar(mine.limit(1)) is None
        now = self._position_at(session, position.seq)
        chunk, _, text_hash = position.check.partition(":")
        chunk_now, _, hash_now = now.check.partition(":")
        # A chunk that was removed since then has no hash any more.
        return chunk == chunk_now and (not text_hash or not hash_now or text_hash == hash_now)

    def _newest(self, session: Session) -> Position:
        newest = sa.select(sa.func.max(ChangeRow.seq)).where(ChangeRow.collection_id == self.collection_id)
        seq = session.scalar(newest)
        return self._position_at(session, seq) if seq else Position(0)

    def _position_at(self, session: Session, seq: int) -> Position:
        row = session.execute(
            sa.select(ChangeRow.chunk_id, ChangeRow.added, ChunkRow.indexed_sha256)
            .outerjoin(ChunkRow, ChunkRow.id == ChangeRow.chunk_id)
            .where(ChangeRow.seq == seq, ChangeRow.collection_id == self.collection_id)
        ).first()
        return Position(seq, f"{'+' if row.added else '-'}{row.chunk_id}:{row.indexed_sha256 or ''}" if row else "")

    def _build(self, database: Database, halves: Sequence[ChunkIndex]) -> int:
        """Fill empty halves from the chunks.

        What is committed meanwhile may be seen or not; the changes behind `start` are applied afterwards in any case,
        and applying a change twice does nothing.
        """
        with database.reading() as session:
            start = self._newest(session)
        last_id = built = 0
        while True:
            with database.reading() as session:
                ids = sa.select(ChunkRow.id).where(ChunkRow.collection_id == self.collection_id, ChunkRow.id > last_id)
                rows = self._rows(session, list(session.scalars(ids.order_by(ChunkRow.id).limit(_BATCH))))
            if not rows:
                break
            for half in halves:
                self._apply(half, [], rows, UNBUILT)
            last_id, built = rows[-1].id, built + len(rows)
        for half in halves:
            self._apply(half, [], [], start)
        return built

    def _apply_batch(self, database: Database) -> int:
        with database.reading() as session:
            changes = [
                _Change(*row)
                for row in session.execute(
                    sa.select(ChangeRow.seq, ChangeRow.chunk_id, ChangeRow.added)
                    .where(ChangeRow.collection_id == self.collection_id, ChangeRow.seq > self.seq)
                    .order_by(ChangeRow.seq)
                    .limit(_BATCH)
                )
            ]
            if not changes:
                return 0
            rows = self._rows(session, [each.chunk_id for each in changes if each.added])
            position = self._position_at(session, changes[-1].seq)
        for half in self._halves:
            # Where a chunk was added and removed, the later counts.
            final = {each.chunk_id: each.added for each in changes if each.seq > half.position.seq}
            if final:
                removed = [chunk_id for chunk_id, added in final.items() if not added]
                self._apply(half, removed, [row for row in rows if final.get(row.id)], position)
        return len(changes)

    def _apply(self, half: ChunkIndex, removed: Sequence[int], rows: Sequence[_Row], position: Position) -> None:
        if half is self.vectors:
            with_vector = {row.id: row.vector for row in rows if row.vector is not None}
            self.vectors.apply(removed, with_vector, position)
        else:
            self.words.apply(removed, {row.id: tokens(row.text) for row in rows}, position)

    def _rows(self, session: Session, ids: Sequence[int]) -> list[_Row]:
        """Read chunks by id, ascending; those that are gone are passed over."""
        if not ids:
            return []
        found = session.execute(
            sa.select(ChunkRow.id, INDEXED_TEXT, EmbeddingRow.vector)
            .outerjoin(EmbeddingRow, self._is_its_vector())
            .where(ChunkRow.id.in_(ids), ChunkRow.collection_id == self.collection_id)
            .order_by(ChunkRow.id)
        )
        return [_Row(chunk_id, text, self._vector(chunk_id, vector)) for chunk_id, text, vector in found]

    def _with_vector(self) -> sa.Select[int]:
        return (
            sa.select(ChunkRow.id)
            .join(EmbeddingRow, self._is_its_vector())
            .where(ChunkRow.collection_id == self.collection_id)
            .order_by(ChunkRow.id)
        )

    def _is_its_vector(self) -> sa.ColumnElement[bool]:
        same_text = EmbeddingRow.text_sha256 == ChunkRow.indexed_sha256
        return sa.and_(same_text, EmbeddingRow.encoder == self.encoder_version)

    def _vector(self, chunk_id: int, stored: bytes | None) -> NDArray[np.float32] | None:
        if stored is None:
            return None
        vector = from_bytes(stored)
        if vector.shape == (self._dimension,) and np.isfinite(vector).all():
            return vector
        log.error("vector_unusable", collection=self.collection_id, chunk=chunk_id)
        return None

    def _compare(self, session: Session) -> IndexReport:
        mine = ChunkRow.collection_id == self.collection_id
        all_ids = set(session.scalars(sa.select(ChunkRow.id).where(mine)))
        # While a collection is being encoded anew, chunks of the former encoder have words only.
        has_any = sa.exists().where(EmbeddingRow.text_sha256 == ChunkRow.indexed_sha256)
        to_encode = {
            *session.scalars(self._with_vector()),
            *session.scalars(sa.select(ChunkRow.id).where(mine, ~has_any)),
        }
        held = set(self.vectors.ids().tolist())
        sample = random.sample(sorted(held & to_encode), min(_SAMPLED_VECTORS, len(held & to_encode)))
        wrong = [
            row.id
            for row in self._rows(session, sample)
            if row.vector is None or not self.vectors.scores(row.vector, [row.id])[0] > 0.999
        ]
        return IndexReport(
            collection_id=self.collection_id,
            chunks=len(all_ids),
            vectors=_difference(to_encode, held),
            words=_difference(all_ids, set(self.words.ids().tolist())),
            wrong_vectors=tuple(wrong),
        )


def _difference(expected: set[int], held: set[int]) -> IdDifference:
    missing, extra = sorted(expected - held), sorted(held - expected)
    return IdDifference(len(missing), len(extra), tuple(missing[:_LISTED]), tuple(extra[:_LISTED]))

"""Passages of one collection by ids of one's own choice: put, read, taken away, and found by vectors.

passages = Passages(retrieval, "faq")
passages.put([Passage("faq-7", "The warranty lasts two years.", {"product": "AF-200"})])
passages.nearest(retrieval.encoders.default.encode_query("How long is the warranty?"), k=4)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from keepstone.platform.access import find_collection
from keepstone.platform.database.tables import ChunkRow, DocumentRow, DocumentState
from keepstone.platform.errors import InvalidInput, NotFound
from keepstone.retrieval.embeddings import batched
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.filters import Where, matching_chunks
from keepstone.retrieval.loaders.detect import PASSAGE
from keepstone.retrieval.loaders.passage import passage_file, passage_id, passage_name
from keepstone.retrieval.local import DEFAULT_COLLECTION, Retrieval

_NAMES_PER_STATEMENT: Final = 1000


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with what is known of it."""

    id: str
    """Unique in its collection. That of a passage of a file is `DOCUMENT_ID:START-END`."""
    text: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Passages:
    """The passages of one collection.

    Args:
        retrieval: where the collection is, or is to be made.
        collection: its name or id.
    """

    def __init__(self, retrieval: Retrieval, collection: str = DEFAULT_COLLECTION) -> None:
        self._retrieval, self._collection = retrieval, collection

    @property
    def encoder(self) -> Encoder:
        """The encoder under whose vectors the collection is searched."""
        found = self._collection_id()
        encoders = self._retrieval.encoders
        return encoders.get(self._retrieval.indexes.get(found).encoder_version) if found else encoders.default

    def put(self, passages: Sequence[Passage]) -> None:
        """Add passages and make them findable; each takes the place of the one that had its id, the last one counts.

        Raises:
            KeepstoneError: one of them cannot be stored, see `passage_file`; then none is.
        """
        files = dict(passage_file(each.id, each.text, each.details) for each in passages)
        for info in self._retrieval.add(list(files.items()), collection=self._collection):
            if info.state != DocumentState.READY:
                raise InvalidInput(f"The passage {passage_id(info.name)!r} was not added: {info.error}")

    def get(self, ids: Sequence[str]) -> list[Passage]:
        """Return those of the passages that are there, in the order of the ids."""
        rows = {row.name: row for row in self._rows(ids)}
        found = (rows.get(passage_name(each)) for each in ids)
        return [Passage(str(passage_id(row.name)), row.text or "", row.details or {}) for row in found if row]

    def remove(self, ids: Sequence[str] | None = None) -> int:
        """Take passages away, all by default; return how many were there."""
        gone = [row.id for row in self._rows(ids)]
        for document_id in gone:
            self._retrieval.library.delete_document(self._retrieval.principal, document_id)
        return len(gone)

    def nearest(
        self, vector: NDArray[np.float32], k: int = 4, *, where: Where | None = None
    ) -> list[tuple[Passage, float]]:
        """Return the passages whose vectors point the way of this one, the nearest first, with their cosines.

        A text that was cut to be encoded counts as its nearest part. Passages of files have the file's name, page and
        span as details.

        Args:
            vector: a unit vector of `encoder`, shape (d,).
            k: how many.
            where: only passages of which this is known, see `filters`.
        """
        collection_id = self._collection_id()
        if collection_id is None or k < 1:
            return []
        allowed = None if where is None else matching_chunks(self._retrieval.database, [collection_id], where).tolist()
        index = self._retrieval.indexes.get(collection_id).vectors
        count = k
        while True:
            ranking = index.search(vector, count, allowed=allowed)
            found = self._read(collection_id, ranking.ids.tolist(), ranking.scores.tolist())
            if len(found) >= k or len(ranking) < count:
                return found[:k]
            count *= 2

    def _read(self, collection_id: str, chunks: Sequence[int], scores: Sequence[float]) -> list[tuple[Passage, float]]:
        query = (
            sa.select(
                ChunkRow.id,
                ChunkRow.document_id,
                ChunkRow.start,
                ChunkRow.end,
                ChunkRow.page,
                sa.case((DocumentRow.media_type == PASSAGE, DocumentRow.text), else_=ChunkRow.text).label("text"),
                DocumentRow.name,
                DocumentRow.media_type,
                DocumentRow.details,
            )
            .join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
            .where(ChunkRow.id.in_(chunks), ChunkRow.collection_id == collection_id)
        )
        with self._retrieval.database.reading() as session:
            rows = {row.id: row for row in session.execute(query)}
        found: dict[str, tuple[Passage, float]] = {}
        for chunk, score in zip(chunks, scores, strict=True):
            if chunk in rows:
                passage = _passage(rows[chunk])
                found.setdefault(passage.id, (passage, score))
        return list(found.values())

    def _rows(self, ids: Sequence[str] | None) -> list[DocumentRow]:
        """Return the documents of passages, all by default, with their texts."""
        collection_id = self._collection_id()
        if collection_id is None:
            return []
        query = (
            sa.select(DocumentRow)
            .options(sa.orm.undefer(DocumentRow.text))
            .where(DocumentRow.collection_id == collection_id, DocumentRow.media_type == PASSAGE)
        )
        with self._retrieval.database.reading() as session:
            if ids is None:
                return list(session.scalars(query))
            names = [passage_name(each) for each in ids]
            return [
                row
                for some in batched(names, _NAMES_PER_STATEMENT)
                for row in session.scalars(query.where(DocumentRow.name.in_(some)))
            ]

    def _collection_id(self) -> str | None:
        with self._retrieval.database.reading() as session:
            try:
                return find_collection(session, self._retrieval.principal, self._collection).id
            except NotFound:
                return None


def _passage(row: Any) -> Passage:
    if row.media_type == PASSAGE:
        return Passage(str(passage_id(row.name)), row.text, row.details or {})
    place = {"document": row.name, "page": row.page, "start": row.start, "end": row.end}
    return Passage(f"{row.document_id}:{row.start}-{row.end}", row.text, {**(row.details or {}), **place})

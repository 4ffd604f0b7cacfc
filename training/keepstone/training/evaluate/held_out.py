"""The held-out questions of a dataset, as the collection can still answer them.

What was trained on never stands among them: a dataset is split by whole documents, and its files are hashed again
before they are read. A question whose passage has left the collection since is passed over.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChunkRow
from keepstone.retrieval.embeddings import batched
from keepstone.training.data import Dataset, RetrievalRow

_IDS_PER_STATEMENT = 5000


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A question with the passage that answers it."""

    id: str
    question: str
    answer: str
    """Empty where people only named the passage."""
    language: str | None
    chunk_id: int
    document_id: str
    document: str
    """sha256 of the document's bytes."""
    start: int
    end: int
    """The passage's characters in its document."""


def held_out(database: Database, dataset: Dataset, *, most: int) -> tuple[HeldOut, ...]:
    """Return the held-out questions of a dataset, at most so many, and always the same ones.

    Where there are more, documents take turns, so that as many as can be have a say.

    Raises:
        InvalidInput: a file of the dataset was changed or is gone.
    """
    dataset.verify()
    rows = list(dataset.retrieval("test"))
    places = _places(database, dataset.card.collection_id, [row.positive_chunk for row in rows])
    alive = [row for row in rows if row.positive_chunk in places]
    return tuple(_held_out(row, places[row.positive_chunk]) for row in _take_turns(alive)[:most])


@dataclass(frozen=True, slots=True)
class _Place:
    document_id: str
    start: int
    end: int


def _held_out(row: RetrievalRow, place: _Place) -> HeldOut:
    return HeldOut(
        id=row.id,
        question=row.question,
        answer=row.answer,
        language=row.language,
        chunk_id=row.positive_chunk,
        document_id=place.document_id,
        document=row.document,
        start=place.start,
        end=place.end,
    )


def _places(database: Database, collection_id: str, chunks: Sequence[int]) -> dict[int, _Place]:
    """Return where those chunks stand that are still in the collection."""
    query = sa.select(ChunkRow.id, ChunkRow.document_id, ChunkRow.start, ChunkRow.end)
    found: dict[int, _Place] = {}
    with database.reading() as session:
        for some in batched(sorted(set(chunks)), _IDS_PER_STATEMENT):
            rows = session.execute(query.where(ChunkRow.collection_id == collection_id, ChunkRow.id.in_(some)))
            found |= {row.id: _Place(row.document_id, row.start, row.end) for row in rows}
    return found


def _take_turns(rows: Sequence[RetrievalRow]) -> list[RetrievalRow]:
    """Return the rows in an order in which every document has had one before any has two."""
    by_document: defaultdict[str, list[RetrievalRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda each: _lot(each.id)):
        by_document[row.document].append(row)
    turns = [(turn, _lot(row.document), row) for held in by_document.values() for turn, row in enumerate(held)]
    return [row for _, _, row in sorted(turns, key=lambda each: each[:2])]


def _lot(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()

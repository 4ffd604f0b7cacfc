"""The content-hash cache of vectors: the same text is encoded once per encoder version, whoever brings it.

embedded = embed(database, encoder, texts)
with database.transaction() as session:
    store(session, embedded.new_rows)
    ...  # insert the chunks with embedded.hashes
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChunkRow, CollectionRow, EmbeddingRow, IndexVersionRow
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.types import Chunk

# Well below the smallest limits on bound variables: 32,766 in SQLite, 65,535 in PostgreSQL.
_HASHES_PER_STATEMENT = 5000
_ROWS_PER_STATEMENT = 2000
_VECTOR = np.dtype("<f4")

T = TypeVar("T")


class NewEmbedding(TypedDict):
    """A row for the table `embeddings`."""

    text_sha256: str
    encoder: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of some texts, in their order."""

    hashes: list[str]
    vectors: NDArray[np.float32]
    """Shape (n, d), unit length."""
    new_rows: list[NewEmbedding]
    """What the cache did not hold yet; give it to `store`."""


def text_hash(text: str) -> str:
    """Return the sha256 of a text, in hex, under which its vectors are kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def passage_hash(chunk: Chunk) -> str:
    """Return what a passage's vectors are kept under: the hash of its text, and of what it is read in."""
    if not chunk.read_in:
        return text_hash(chunk.indexed_text)
    return text_hash(f"late/1 {chunk.read_in} {chunk.start}-{chunk.end}\n{chunk.indexed_text}")


def embed(database: Database, encoder: Encoder, texts: Sequence[str]) -> Embedded:
    """Return the vectors of passages, from the cache where it has them; encode only the others, each once."""
    hashes = [text_hash(text) for text in texts]
    wanted = dict(zip(hashes, texts, strict=True))
    with database.reading() as session:
        known = lookup(session, encoder.version, wanted)
    missing = [each for each in wanted if each not in known or len(known[each]) != encoder.dimension]
    new_vectors = encoder.encode_documents([wanted[each] for each in missing]) if missing else ()
    known.update(zip(missing, new_vectors, strict=True))
    vectors = np.empty((len(hashes), encoder.dimension), dtype=np.float32)
    for row, each in enumerate(hashes):
        vectors[row] = known[each]
    return Embedded(hashes, vectors, [new_row(encoder, each, known[each]) for each in missing])


def new_row(encoder: Encoder, text_sha256: str, vector: NDArray[np.float32]) -> NewEmbedding:
    """Return the row of a vector."""
    return {"text_sha256": text_sha256, "encoder": encoder.version, "vector": to_bytes(vector)}


def lookup(session: Session, version: str, hashes: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Return the vectors that the cache holds of an encoder, by the hashes of their texts."""
    found: dict[str, NDArray[np.float32]] = {}
    for some in batched(list(hashes), _HASHES_PER_STATEMENT):
        rows = session.execute(sa.select(EmbeddingRow.text_sha256, EmbeddingRow.vector).where(*_are(version, some)))
        found.update((each, from_bytes(vector)) for each, vector in rows)
    return found


def store(session: Session, new_rows: Sequence[NewEmbedding]) -> None:
    """Insert rows into the cache; those that somebody else inserted meanwhile are passed over."""
    insert: Any = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    same = [EmbeddingRow.text_sha256, EmbeddingRow.encoder]
    statement = insert(EmbeddingRow).on_conflict_do_nothing(index_elements=same)
    # Sorted, so that two transactions that insert the same rows wait for each other instead of locking each other out.
    ordered = sorted(new_rows, key=lambda row: (row["text_sha256"], row["encoder"]))
    for some in batched(ordered, _ROWS_PER_STATEMENT):
        session.connection().execute(statement, some)


def missing(session: Session, version: str, hashes: Iterable[str]) -> int:
    """Return of how many of these texts the cache holds no vector of an encoder."""
    wanted = list(set(hashes))
    held = 0
    for some in batched(wanted, _HASHES_PER_STATEMENT):
        held += session.scalar(sa.select(sa.func.count()).where(*_are(version, some))) or 0
    return len(wanted) - held


def without_vector(collection_id: str, version: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return what holds for the chunks of a collection whose vectors of an encoder the cache does not hold."""
    held = sa.exists().where(EmbeddingRow.text_sha256 == ChunkRow.indexed_sha256, EmbeddingRow.encoder == version)
    return ChunkRow.collection_id == collection_id, ~held


def collect_garbage(database: Database, *, limit: int = 10_000) -> int:
    """Delete vectors that no index wants, at most `limit` of them; return how many went.

    Wanted are those of the passages of each collection under its own encoder and those of its further indexes. Call it
    while nothing is being ingested: what was encoded for chunks that are not yet committed is encoded again. Whoever
    commits chunks holds `Database.lock_changes` and asks `missing` first, so none is left without its vector; so does
    whoever switches a collection to another encoder.
    """
    of_text = ChunkRow.indexed_sha256 == EmbeddingRow.text_sha256
    own = sa.exists().where(
        of_text, CollectionRow.id == ChunkRow.collection_id, CollectionRow.encoder == EmbeddingRow.encoder
    )
    further = sa.exists().where(
        of_text,
        IndexVersionRow.collection_id == ChunkRow.collection_id,
        IndexVersionRow.encoder == EmbeddingRow.encoder,
    )
    unused = ~own & ~further
    # Found without a lock, since it takes long: the whole cache is looked through.
    with database.reading() as session:
        found = session.execute(sa.select(EmbeddingRow.encoder, EmbeddingRow.text_sha256).where(unused).limit(limit))
        by_encoder: dict[str, list[str]] = {}
        for version, text_sha256 in found:
            by_encoder.setdefault(version, []).append(text_sha256)
    gone = 0
    for version, hashes in by_encoder.items():
        for some in batched(hashes, _ROWS_PER_STATEMENT):
            with database.transaction() as session:
                database.lock_changes(session)
                deleted = session.execute(sa.delete(EmbeddingRow).where(*_are(version, some), unused))
                gone += int(deleted.rowcount)  # type: ignore[attr-defined]
    return gone


def _are(version: str, hashes: Sequence[str]) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return EmbeddingRow.text_sha256.in_(hashes), EmbeddingRow.encoder == version


def to_bytes(vector: NDArray[np.float32]) -> bytes:
    """Return a vector as it is stored: little-endian float32."""
    return vector.astype(_VECTOR, copy=False).tobytes()


def from_bytes(stored: bytes) -> NDArray[np.float32]:
    """Return a stored vector; read-only, without a copy."""
    return np.frombuffer(stored, dtype=_VECTOR)


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]

"""The content-hash cache of vectors: the same text is encoded once per encoder version, whoever brings it.

embedded = embed(database, encoder, texts)
with database.transaction() as session:
    store(session, embedded.new_rows)
    ...  # insert the chunks that refer to embedded.keys
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
from keepstone.platform.database.tables import ChunkRow, EmbeddingRow
from keepstone.retrieval.encoder import Encoder

# Well below the smallest limits on bound variables: 32,766 in SQLite, 65,535 in PostgreSQL.
_KEYS_PER_STATEMENT = 5000
_ROWS_PER_STATEMENT = 2000
_VECTOR = np.dtype("<f4")

T = TypeVar("T")


class NewEmbedding(TypedDict):
    """A row for the table `embeddings`."""

    key: str
    encoder: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of some texts, in their order."""

    keys: list[str]
    vectors: NDArray[np.float32]
    """Shape (n, d), unit length."""
    new_rows: list[NewEmbedding]
    """What the cache did not hold yet; give it to `store`."""


def key(encoder: Encoder, text: str) -> str:
    """Return the cache key of a text: the sha256, in hex, of the encoder's version, a NUL and the text."""
    return hashlib.sha256(f"{encoder.version}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()


def embed(database: Database, encoder: Encoder, texts: Sequence[str]) -> Embedded:
    """Return the vectors of passages, from the cache where it has them; encode only the others, each once."""
    keys = [key(encoder, text) for text in texts]
    wanted = dict(zip(keys, texts, strict=True))
    with database.reading() as session:
        known = lookup(session, wanted)
    missing = [each for each in wanted if each not in known or len(known[each]) != encoder.dimension]
    new_vectors = encoder.encode_documents([wanted[each] for each in missing]) if missing else ()
    known.update(zip(missing, new_vectors, strict=True))
    vectors = np.empty((len(keys), encoder.dimension), dtype=np.float32)
    for row, each in enumerate(keys):
        vectors[row] = known[each]
    new_rows: list[NewEmbedding] = [
        {"key": each, "encoder": encoder.version, "vector": to_bytes(known[each])} for each in missing
    ]
    return Embedded(keys, vectors, new_rows)


def lookup(session: Session, keys: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Return the vectors that the cache holds, by key."""
    found: dict[str, NDArray[np.float32]] = {}
    for some in batched(list(keys), _KEYS_PER_STATEMENT):
        rows = session.execute(sa.select(EmbeddingRow.key, EmbeddingRow.vector).where(EmbeddingRow.key.in_(some)))
        found.update((each, from_bytes(vector)) for each, vector in rows)
    return found


def store(session: Session, new_rows: Sequence[NewEmbedding]) -> None:
    """Insert rows into the cache; those that somebody else inserted meanwhile are passed over."""
    insert: Any = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(EmbeddingRow).on_conflict_do_nothing(index_elements=[EmbeddingRow.key])
    # Sorted, so that two transactions that insert the same keys wait for each other instead of locking each other out.
    ordered = sorted(new_rows, key=lambda row: row["key"])
    for some in batched(ordered, _ROWS_PER_STATEMENT):
        session.connection().execute(statement, some)


def missing(session: Session, keys: Iterable[str]) -> int:
    """Return how many of these vectors the cache does not hold."""
    wanted = list(set(keys))
    held = 0
    for some in batched(wanted, _KEYS_PER_STATEMENT):
        held += session.scalar(sa.select(sa.func.count()).where(EmbeddingRow.key.in_(some))) or 0
    return len(wanted) - held


def collect_garbage(database: Database, *, limit: int = 10_000) -> int:
    """Delete vectors that no chunk refers to, at most `limit` of them; return how many went.

    Call it while nothing is being ingested: what was encoded for chunks that are not yet committed is encoded again.
    Whoever commits chunks holds `Database.lock_changes` and asks `missing` first, so none is left without its vector.
    """
    unused = ~sa.exists().where(ChunkRow.embedding_key == EmbeddingRow.key)
    # Found without a lock, since it takes long: the whole cache is looked through.
    with database.reading() as session:
        found = list(session.scalars(sa.select(EmbeddingRow.key).where(unused).limit(limit)))
    gone = 0
    for some in batched(found, _ROWS_PER_STATEMENT):
        with database.transaction() as session:
            database.lock_changes(session)
            deleted = session.execute(sa.delete(EmbeddingRow).where(EmbeddingRow.key.in_(some), unused))
            gone += int(deleted.rowcount)  # type: ignore[attr-defined]
    return gone


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

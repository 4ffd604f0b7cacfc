"""The cache of vectors, on both databases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from keepstone.platform.database import Database
from keepstone.platform.database.tables import (
    ChunkRow,
    CollectionRow,
    DocumentRow,
    EmbeddingRow,
    PrincipalRow,
)
from keepstone.retrieval import embeddings
from keepstone.retrieval.encoder import HashEncoder


class _Counting(HashEncoder):
    """Counts what it is asked to encode."""

    def __init__(self) -> None:
        super().__init__(8)
        self.encoded: list[str] = []

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.encoded += texts
        return super().encode_documents(texts)


def _cached(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(EmbeddingRow)) or 0


def test_each_text_is_encoded_once(both_databases: Database) -> None:
    encoder = _Counting()
    first = embeddings.embed(both_databases, encoder, ["fox", "hen", "fox"])
    assert encoder.encoded == ["fox", "hen"]
    assert first.hashes[0] == first.hashes[2] == embeddings.text_hash("fox")
    with both_databases.transaction() as session:
        embeddings.store(session, first.new_rows)
    second = embeddings.embed(both_databases, encoder, ["hen", "cow", "fox"])
    assert encoder.encoded == ["fox", "hen", "cow"]
    assert [row["text_sha256"] for row in second.new_rows] == [second.hashes[1]]
    np.testing.assert_array_equal(second.vectors[2], first.vectors[0])
    np.testing.assert_array_equal(second.vectors, encoder.encode_documents(["hen", "cow", "fox"]))


def test_thousands_at_once_and_twice(both_databases: Database) -> None:
    """More rows than a statement may have variables; and another writer may have been quicker."""
    encoder = HashEncoder(8)
    texts = [f"text {number}" for number in range(7001)]
    embedded = embeddings.embed(both_databases, encoder, texts)
    for _ in range(2):
        with both_databases.transaction() as session:
            embeddings.store(session, embedded.new_rows)
    assert _cached(both_databases) == 7001
    again = embeddings.embed(both_databases, encoder, texts)
    assert not again.new_rows
    np.testing.assert_array_equal(again.vectors, embedded.vectors)


def test_nothing_gives_nothing(database: Database) -> None:
    embedded = embeddings.embed(database, HashEncoder(8), [])
    assert embedded.vectors.shape == (0, 8)
    with database.transaction() as session:
        embeddings.store(session, embedded.new_rows)
    assert _cached(database) == 0


def test_encoders_do_not_share_vectors(database: Database) -> None:
    small, large = HashEncoder(8), HashEncoder(16)
    for encoder in (small, large):
        with database.transaction() as session:
            embeddings.store(session, embeddings.embed(database, encoder, ["fox"]).new_rows)
    assert _cached(database) == 2
    assert embeddings.embed(database, large, ["fox"]).vectors.shape == (1, 16)


def test_lone_surrogates_have_a_hash() -> None:
    assert embeddings.text_hash("\ud800") != embeddings.text_hash("\udfff")


def test_garbage_is_what_no_chunk_refers_to(both_databases: Database) -> None:
    encoder = HashEncoder(8)
    embedded = embeddings.embed(both_databases, encoder, ["kept", "lost", "lost too"])
    with both_databases.transaction() as session:
        embeddings.store(session, embedded.new_rows)
        session.add(PrincipalRow(id="usr_1", name="ann"))
        session.flush()
        session.add(CollectionRow(id="col_1", name="c", owner_id="usr_1", encoder=encoder.version))
        session.flush()
        session.add(DocumentRow(id="doc_1", collection_id="col_1", name="d", size=1))
        session.flush()
        session.add(
            ChunkRow(
                document_id="doc_1",
                collection_id="col_1",
                ordinal=0,
                start=0,
                end=4,
                text="kept",
                indexed_sha256=embedded.hashes[0],
            )
        )
    assert embeddings.collect_garbage(both_databases, limit=1) == 1
    assert embeddings.collect_garbage(both_databases) == 1
    with both_databases.reading() as session:
        assert session.scalars(sa.select(EmbeddingRow.text_sha256)).all() == [embedded.hashes[0]]
        assert embeddings.missing(session, encoder.version, embedded.hashes) == 2

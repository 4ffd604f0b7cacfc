"""Let a collection have indexes under several encoders: vectors are found by their text and encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ROWS = 1000
_SET_ASIDE = "CREATE TABLE embeddings_before AS SELECT {key} AS key, encoder, vector FROM embeddings"


def upgrade() -> None:
    op.create_table(
        "index_versions",
        sa.Column("collection_id", sa.String(), nullable=False),
        sa.Column("encoder", sa.String(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collections.id"],
            name=op.f("fk_index_versions_collection_id_collections"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("collection_id", "encoder", name=op.f("pk_index_versions")),
    )
    op.execute(_SET_ASIDE.format(key="key"))
    _replace_embeddings("text_sha256", "text_sha256", "encoder")
    _rename_chunk_column("embedding_key", "indexed_sha256")
    # A vector that no passage refers to is left out: it is encoded again if it is ever wanted.
    _move("indexed_sha256", "text_sha256", lambda _, text: _sha256(text), "b.key = :old")
    op.drop_table("embeddings_before")


def downgrade() -> None:
    op.execute(_SET_ASIDE.format(key="text_sha256"))
    _replace_embeddings("key", "key")
    _rename_chunk_column("indexed_sha256", "embedding_key")
    _move(
        "embedding_key", "key", lambda encoder, text: _sha256(f"{encoder}\0{text}"), "b.key = :old AND b.encoder = :enc"
    )
    op.drop_table("embeddings_before")
    op.drop_table("index_versions")


def _replace_embeddings(key: str, *primary: str) -> None:
    op.create_index("ix_embeddings_before", "embeddings_before", ["key"])
    op.drop_table("embeddings")
    op.create_table(
        "embeddings",
        sa.Column(key, sa.String(length=64), nullable=False),
        sa.Column("encoder", sa.String(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(*primary, name=op.f("pk_embeddings")),
    )
    op.create_index(op.f("ix_embeddings_encoder"), "embeddings", ["encoder"], unique=False)


def _rename_chunk_column(old: str, new: str) -> None:
    # In place: a copy of the table would not keep counting its ids where it left off.
    op.drop_index(op.f(f"ix_chunks_{old}"), table_name="chunks")
    op.execute(f"ALTER TABLE chunks RENAME COLUMN {old} TO {new}")
    op.create_index(op.f(f"ix_chunks_{new}"), "chunks", [new], unique=False)


def _move(chunk_column: str, key: str, name: Callable[[str, str], str], which: str) -> None:
    """Name the passages' vectors anew, and take over those that were set aside."""
    connection = op.get_bind()
    take = sa.text(
        f"INSERT INTO embeddings ({key}, encoder, vector) SELECT :new, b.encoder, b.vector "  # noqa: S608 - constants
        f"FROM embeddings_before b WHERE {which} ON CONFLICT DO NOTHING"
    )
    rename = sa.text(f"UPDATE chunks SET {chunk_column} = :new WHERE id = :id")  # noqa: S608 - constants
    for rows in _chunks(connection, chunk_column):
        named = [
            {"id": row.id, "old": row.old, "enc": row.encoder, "new": name(row.encoder, _indexed(row))} for row in rows
        ]
        connection.execute(take, [{each: row[each] for each in take.compile().params} for row in named])
        connection.execute(rename, [{"id": row["id"], "new": row["new"]} for row in named])


def _chunks(connection: sa.Connection, column: str) -> Iterator[Sequence[sa.Row[tuple[int, str, str, str, str]]]]:
    query = sa.text(
        f"SELECT c.id, c.{column} AS old, c.context, c.text, l.encoder FROM chunks c "  # noqa: S608 - constants
        "JOIN collections l ON l.id = c.collection_id WHERE c.id > :after ORDER BY c.id LIMIT :rows"
    )
    after = 0
    while rows := connection.execute(query, {"after": after, "rows": _ROWS}).all():
        yield rows
        after = rows[-1].id


def _indexed(row: sa.Row[tuple[int, str, str, str, str]]) -> str:
    return f"{row.context}\n{row.text}" if row.context else str(row.text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

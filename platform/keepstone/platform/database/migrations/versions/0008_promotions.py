"""Add the history of promotions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "promotions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("subject", sa.String(length=16), nullable=False),
        sa.Column("collection_id", sa.String(), nullable=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("setting", sa.String(), nullable=False),
        sa.Column("verdict_id", sa.String(), nullable=True),
        sa.Column("principal_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("live_at", sa.DateTime(), nullable=True),
        sa.Column("undone_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collections.id"],
            name=op.f("fk_promotions_collection_id_collections"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principals.id"], name=op.f("fk_promotions_principal_id_principals"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
    )
    op.create_index(op.f("ix_promotions_collection_id"), "promotions", ["collection_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_promotions_collection_id"), table_name="promotions")
    op.drop_table("promotions")

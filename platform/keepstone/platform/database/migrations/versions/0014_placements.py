"""Keep what a language model writes of a passage's place in its document."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chunks", sa.Column("placement", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "placements",
        sa.Column("document_id", sa.String(), nullable=False),
        sa.Column("asked_sha256", sa.String(64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name="fk_placements_document_id_documents", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("document_id", "asked_sha256", name="pk_placements"),
    )


def downgrade() -> None:
    op.drop_table("placements")
    op.drop_column("chunks", "placement")

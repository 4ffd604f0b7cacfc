"""List the bytes that were stored, so that they can be removed when no document refers to them any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blobs")),
    )
    op.create_index(op.f("ix_documents_sha256"), "documents", ["sha256"], unique=False)
    op.create_index(op.f("ix_documents_pending_sha256"), "documents", ["pending_sha256"], unique=False)
    # UNION leaves each out that was there already.
    op.execute(
        "INSERT INTO blobs (sha256) SELECT sha256 FROM documents WHERE sha256 IS NOT NULL "
        "UNION SELECT pending_sha256 FROM documents WHERE pending_sha256 IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_documents_pending_sha256"), table_name="documents")
    op.drop_index(op.f("ix_documents_sha256"), table_name="documents")
    op.drop_table("blobs")

"""Add what is known of documents besides their text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("documents", sa.Column("details", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("documents", "details")

"""Let a passage be read together with what stands around it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chunks", sa.Column("wide_start", sa.Integer(), nullable=True))
    op.add_column("chunks", sa.Column("wide_end", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("chunks", "wide_end")
    op.drop_column("chunks", "wide_start")

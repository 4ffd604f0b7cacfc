"""Keep where the lines of a document stand on its pages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("documents", sa.Column("boxes", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("documents", "boxes")

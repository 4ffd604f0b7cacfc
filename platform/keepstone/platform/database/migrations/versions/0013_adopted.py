"""Let a collection choose how it is searched, and remember what was adopted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("collections", sa.Column("search", sa.JSON(), nullable=True))
    op.add_column("collections", sa.Column("adopted", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("collections", "adopted")
    op.drop_column("collections", "search")

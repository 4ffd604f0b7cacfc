"""Let feedback hold a corrected answer, and which passages were relevant and which were not."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Added to the table in place, columns would need a default in it, which new tables have not.
_SET_ASIDE = """
CREATE TABLE feedback_before AS SELECT id, answer_id, principal_id, rating, comment, created_at FROM feedback
"""
_BACK = """
INSERT INTO feedback (id, answer_id, principal_id, rating, comment, created_at)
SELECT id, answer_id, principal_id, rating, comment, created_at FROM feedback_before
"""
_BACK_AND_MORE = """
INSERT INTO feedback (id, answer_id, principal_id, rating, comment, created_at, correction, relevant, irrelevant)
SELECT id, answer_id, principal_id, rating, comment, created_at, '', '[]', '[]' FROM feedback_before
"""


def upgrade() -> None:
    op.execute(_SET_ASIDE)
    op.drop_table("feedback")
    _create(
        sa.Column("correction", sa.Text(), nullable=False),
        sa.Column("relevant", sa.JSON(), nullable=False),
        sa.Column("irrelevant", sa.JSON(), nullable=False),
    )
    op.execute(_BACK_AND_MORE)
    op.drop_table("feedback_before")


def downgrade() -> None:
    op.execute(_SET_ASIDE)
    op.drop_table("feedback")
    _create()
    op.execute(_BACK)
    op.drop_table("feedback_before")


def _create(*further: sa.Column[object]) -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("answer_id", sa.String(), nullable=False),
        sa.Column("principal_id", sa.String(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        *further,
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["answer_id"], ["answers.id"], name=op.f("fk_feedback_answer_id_answers"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principals.id"], name=op.f("fk_feedback_principal_id_principals"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
        sa.UniqueConstraint("answer_id", "principal_id", name=op.f("uq_feedback_answer_id_principal_id")),
    )

"""Let an agent's run keep what it was told besides its question, and which process has it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_RUNS_AWAY = """
CREATE TABLE runs_before AS
SELECT id, principal_id, scopes, collections, question, budget, state, outcome, answer_id, error, created_at, updated_at
FROM agent_runs
"""
_STATES_AWAY = """
CREATE TABLE checkpoints_before AS SELECT run_id, checkpoint, info, updated_at FROM agent_checkpoints
"""
_RUNS_BACK = """
INSERT INTO agent_runs (
    id, principal_id, scopes, collections, question, budget, state, outcome, answer_id, error, created_at, updated_at
)
SELECT id, principal_id, scopes, collections, question, budget, state, outcome, answer_id, error, created_at, updated_at
FROM runs_before
"""
_STATES_BACK = """
INSERT INTO agent_checkpoints (run_id, checkpoint, info, updated_at)
SELECT run_id, checkpoint, info, updated_at FROM checkpoints_before
"""
_REFERENCE = "fk_agent_checkpoints_run_id_agent_runs"


def upgrade() -> None:
    # On SQLite a column added in place stands elsewhere in the table's definition than in a new database's.
    _remade(sa.Column("brief", sa.JSON(), nullable=True), sa.Column("worker", sa.String(), nullable=True))


def downgrade() -> None:
    _remade()


def _remade(*further: sa.Column[object]) -> None:
    """Make the table anew with its rows, and with the states that refer to them, which go when it is dropped."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.execute(_RUNS_AWAY)
    op.execute(_STATES_AWAY)
    op.execute("DELETE FROM agent_checkpoints")
    if postgresql:
        op.drop_constraint(_REFERENCE, "agent_checkpoints", type_="foreignkey")
    op.drop_table("agent_runs")
    op.create_table(
        "agent_runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("principal_id", sa.String(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("collections", sa.JSON(), nullable=True),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("budget", sa.JSON(), nullable=False),
        *further,
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("answer_id", sa.String(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principals.id"], name=op.f("fk_agent_runs_principal_id_principals"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_runs")),
    )
    op.create_index(op.f("ix_agent_runs_principal_id"), "agent_runs", ["principal_id"], unique=False)
    op.create_index(op.f("ix_agent_runs_state"), "agent_runs", ["state"], unique=False)
    op.execute(_RUNS_BACK)
    op.execute(_STATES_BACK)
    if postgresql:
        op.create_foreign_key(_REFERENCE, "agent_checkpoints", "agent_runs", ["run_id"], ["id"], ondelete="CASCADE")
    op.drop_table("runs_before")
    op.drop_table("checkpoints_before")

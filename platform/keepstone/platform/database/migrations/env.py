"""Run by Alembic for each command, on the connection and in the transaction that `migrate.py` opened."""

from __future__ import annotations

from typing import Any, Literal, cast

import sqlalchemy as sa
from alembic import context

from keepstone.platform.database.tables import Base, UtcTime


def _is_ours(_object: Any, _name: str | None, kind: str, reflected: bool, counterpart: Any) -> bool:
    """Leave out tables that others keep in the same database, such as those of DBOS."""
    return not (kind == "table" and reflected and counterpart is None)


def _render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write the column type that the database sees, so that revisions do not depend on today's code."""
    return "sa.DateTime()" if kind == "type" and isinstance(item, UtcTime) else False


connection = cast("sa.Connection", context.config.attributes["connection"])
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
    include_object=_is_ours,
    render_item=_render,
)
with context.begin_transaction():
    context.run_migrations()

"""The tool `list_documents`: what there is to search and to read."""

from __future__ import annotations

from typing import Annotated

import sqlalchemy as sa
from pydantic import Field

from keepstone.agents.tools.base import Observation, ToolContext, tool
from keepstone.platform.database.tables import CollectionRow, DocumentRow

_MOST = 60


@tool
def list_documents(context: ToolContext, containing: Annotated[str, Field(max_length=100)] = "") -> Observation:
    """List the documents by name, or those with some text in their names."""
    scope = context.scope().collection_ids
    wanted: list[sa.ColumnElement[bool]] = [DocumentRow.collection_id.in_(scope), DocumentRow.sha256.is_not(None)]
    if containing:
        wanted.append(DocumentRow.name.icontains(containing, autoescape=True))
    query = (
        sa.select(DocumentRow.name, DocumentRow.title, CollectionRow.name.label("collection"))
        .join(CollectionRow, CollectionRow.id == DocumentRow.collection_id)
        .where(*wanted)
        .order_by(CollectionRow.name, DocumentRow.name)
    )
    with context.database.reading() as session:
        count = session.scalar(sa.select(sa.func.count()).select_from(DocumentRow).where(*wanted)) or 0
        rows = session.execute(query.limit(_MOST)).all()
    if not rows:
        return Observation("No documents." if not containing else f"No document has {containing!r} in its name.")
    lines = [f"{row.name} ({row.title})" if row.title and row.title != row.name else row.name for row in rows]
    if len({row.collection for row in rows}) > 1:
        lines = [f"{row.collection}: {line}" for row, line in zip(rows, lines, strict=True)]
    if count > len(rows):
        lines.append(f"… and {count - len(rows)} more; ask for those containing some text")
    return Observation("\n".join(lines))

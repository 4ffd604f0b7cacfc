"""The tool `read`: a stretch of one document, with the passages that it was cut into."""

from __future__ import annotations

from typing import Annotated, Final

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.orm import Session

from keepstone.agents.tools.base import DECODED, Observation, ToolContext, tool
from keepstone.platform.database.tables import ChunkRow, DocumentRow
from keepstone.platform.errors import InvalidInput, NotFound, did_you_mean
from keepstone.retrieval.types import Hit

WINDOW: Final = 4000
"""How many characters are read at once."""
_NAMES_COMPARED = 1000


@tool
def read(
    context: ToolContext,
    document: Annotated[str, Field(min_length=1, max_length=500, json_schema_extra=DECODED)],
    page: Annotated[int, Field(ge=0, le=100_000)] = 0,
    from_character: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0,
) -> Observation:
    """Read on in a document, by its name: from a page (counted from 1) or from a character."""
    scope = context.scope().collection_ids
    with context.database.reading() as session:
        row = _find(session, scope, document)
        start = _start(row, page, from_character)
        text = session.scalar(
            sa.select(sa.func.substr(DocumentRow.text, start + 1, WINDOW)).where(DocumentRow.id == row.id)
        )
        length = session.scalar(sa.select(sa.func.length(DocumentRow.text)).where(DocumentRow.id == row.id)) or 0
        if not text:
            raise InvalidInput(f"{row.name} ends at character {length}", fix="Begin before that")
        hits = _hits(session, row, start, start + len(text))
    end = start + len(text)
    more = f"It goes on at character {end}." if end < length else "It ends here."
    return Observation(f"[{row.name}, characters {start} to {end} of {length}. {more}]\n{text}", hits)


def _find(session: Session, scope: tuple[str, ...], named: str) -> DocumentRow:
    """Return the document of that name or id; the first one where several collections have the name."""
    inside = DocumentRow.collection_id.in_(scope)
    row = session.scalar(
        sa.select(DocumentRow)
        .where(inside, DocumentRow.text.is_not(None), (DocumentRow.name == named) | (DocumentRow.id == named))
        .order_by(DocumentRow.created_at, DocumentRow.id)
        .limit(1)
    )
    if row is not None:
        return row
    names = session.scalars(sa.select(DocumentRow.name).where(inside).order_by(DocumentRow.name).limit(_NAMES_COMPARED))
    raise NotFound(f"No document {named!r}", fix=_nearest(named, list(names)))


def _nearest(named: str, names: list[str]) -> str:
    hint = did_you_mean(named, names)
    return hint if len(hint) <= WINDOW // 4 else "list_documents shows their names"


def _start(row: DocumentRow, page: int, from_character: int) -> int:
    """Return where to begin; a page counts before a character."""
    if page == 0:
        return from_character
    for number, start, _ in row.pages or ():
        if number == page:
            return int(start)
    count = len(row.pages or ())
    said = f"{row.name} has pages 1 to {count}" if count else f"{row.name} has no pages"
    raise InvalidInput(said, fix="Give from_character" if not count else "Choose one of them")


def _hits(session: Session, row: DocumentRow, start: int, end: int) -> tuple[Hit, ...]:
    chunks = session.scalars(
        sa.select(ChunkRow)
        .where(ChunkRow.document_id == row.id, ChunkRow.start < end, ChunkRow.end > start)
        .order_by(ChunkRow.ordinal)
    )
    return tuple(
        Hit(
            chunk_id=chunk.id,
            document_id=row.id,
            document_name=row.name,
            document_sha256=row.sha256 or "",
            collection_id=row.collection_id,
            text=chunk.text,
            start=chunk.start,
            end=chunk.end,
            page=chunk.page,
            context=chunk.context,
            score=0.0,
            dense_score=None,
            lexical_score=None,
        )
        for chunk in chunks
    )

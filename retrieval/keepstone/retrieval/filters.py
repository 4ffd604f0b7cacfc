"""Searching in a part of a collection: only documents of which certain details are known.

chunks = matching_chunks(database, scope.collection_ids, {"product": "AF-200", "year": [2024, 2025]})
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChunkRow, DocumentRow
from keepstone.platform.errors import InvalidInput

Where = Mapping[str, Any]
"""What has to be known of a document: under each name this value, or one of this list of values."""
_MAX_VALUES = 1000


def conditions(where: Where) -> list[sa.ColumnElement[bool]]:
    """Return what holds for the rows of documents that match.

    Raises:
        InvalidInput: a name cannot be asked for, or a value is neither a text, a number, a boolean nor a list of them.
    """
    return [
        _is_one_of(name, value if isinstance(value, list | tuple | set) else [value]) for name, value in where.items()
    ]


def matching_chunks(database: Database, collection_ids: Sequence[str], where: Where) -> NDArray[np.int64]:
    """Return the ids of all chunks whose documents match, ascending."""
    query = (
        sa.select(ChunkRow.id)
        .join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
        .where(ChunkRow.collection_id.in_(collection_ids), *conditions(where))
        .order_by(ChunkRow.id)
    )
    with database.reading() as session:
        return np.array(session.scalars(query).all(), dtype=np.int64)


def _is_one_of(name: str, values: Iterable[Any]) -> sa.ColumnElement[bool]:
    if not isinstance(name, str) or not 0 < len(name) <= 200 or '"' in name or "\\" in name or "\0" in name:
        raise InvalidInput(f"{name!r} names no detail", fix="Use 1 to 200 characters, without quotes and backslashes")
    written = {each for value in values for each in _written(name, value)}
    if len(written) > _MAX_VALUES:
        raise InvalidInput(f"Too many values of {name!r} to look for", fix="Name at most 300")
    # SQLite looks for names as they are written, PostgreSQL for what they mean.
    names = dict.fromkeys((name, json.dumps(name)[1:-1]))
    # As JSON writes it, a text never equals a number.
    return sa.or_(*(sa.cast(DocumentRow.details[each], sa.Text).in_(sorted(written)) for each in names))


def _written(name: str, value: Any) -> set[str]:
    """Return how databases may write a value: SQLite has no booleans and escapes nothing."""
    if not isinstance(value, str | int | float):
        fix = "Use texts, numbers, booleans, or lists of them"
        raise InvalidInput(f"{name!r} cannot be compared with {type(value).__name__}", fix=fix)
    plain = {json.dumps(value), json.dumps(value, ensure_ascii=False)}
    return plain | {str(int(value))} if isinstance(value, bool) else plain

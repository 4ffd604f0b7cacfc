"""How a collection is searched otherwise than the settings say, by a choice of its own.

with database.reading() as session:
    settings = search_settings(session, scope, default)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.access import Scope
from keepstone.platform.database.tables import CollectionRow
from keepstone.platform.settings import SearchSettings


def search_settings(session: Session, scope: Scope, default: SearchSettings) -> SearchSettings:
    """Return how collections are searched together: as they chose where all of them chose the same, else by default.

    Args:
        session: of the database that they are in.
        scope: the collections.
        default: the settings.
    """
    query = sa.select(CollectionRow.search).where(CollectionRow.id.in_(scope.collection_ids))
    chosen = session.scalars(query).all()
    if not chosen or any(each != chosen[0] for each in chosen):
        return default
    return with_own(default, chosen[0])


def with_own(default: SearchSettings, own: Mapping[str, Any] | None) -> SearchSettings:
    """Return the settings with a collection's choice put in; what it chose of options that are gone is passed over."""
    if not own:
        return default
    known = {name: value for name, value in own.items() if name in SearchSettings.model_fields}
    return SearchSettings.model_validate({**default.model_dump(), **known})

"""Which indexes each collection has: one under the encoder that it is searched with, and others beside it.

Besides `collections.encoder`, which decides what searches use, the table `index_versions` names the indexes that are
being built, wait to be judged, or are kept to switch back to. `reindex` moves them from one state to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.database.tables import CollectionRow, IndexState, IndexVersionRow


@dataclass(frozen=True, slots=True)
class IndexVersions:
    """The encoders, by version, under which a collection has indexes."""

    live: str
    """The one that searches use."""
    beside: tuple[str, ...]
    """Complete ones, kept up with the database."""
    building: tuple[str, ...]

    @property
    def kept_up(self) -> tuple[str, ...]:
        """Those that follow the database, the live one first."""
        return (self.live, *self.beside)

    @property
    def all(self) -> tuple[str, ...]:
        """Every one; what others leave behind may go."""
        return (*self.kept_up, *self.building)


def index_versions(session: Session, collection_id: str | None = None) -> dict[str, IndexVersions]:
    """Return the indexes of all collections, or of one, by collection id; those that are gone are left out."""
    collections = sa.select(CollectionRow.id, CollectionRow.encoder).order_by(CollectionRow.id)
    further = sa.select(IndexVersionRow.collection_id, IndexVersionRow.encoder, IndexVersionRow.state)
    if collection_id is not None:
        collections = collections.where(CollectionRow.id == collection_id)
        further = further.where(IndexVersionRow.collection_id == collection_id)
    beside: dict[str, list[str]] = {}
    building: dict[str, list[str]] = {}
    for each, version, state in session.execute(further.order_by(IndexVersionRow.encoder)):
        (building if state == IndexState.BUILDING else beside).setdefault(each, []).append(version)
    return {
        each: IndexVersions(
            live,
            tuple(version for version in beside.get(each, ()) if version != live),
            tuple(version for version in building.get(each, ()) if version != live),
        )
        for each, live in session.execute(collections)
    }

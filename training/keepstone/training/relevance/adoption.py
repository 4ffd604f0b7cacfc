"""Adopting the way of searching that a sweep found better: for one collection, kept in the database, to be undone.

    tuning.adopt(principal, job_id)
    adoption.undo(principal, "handbook")

Searches follow at once. Where the passages are to be cut otherwise as well, a job cuts them; until it comes to a
document, its former passages are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from keepstone.platform.access import Principal, find_collection
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, utc_now
from keepstone.platform.errors import Conflict
from keepstone.platform.settings import ChunkingSettings, SearchSettings
from keepstone.retrieval.chunking import chunking_of
from keepstone.retrieval.ingest import Ingestion
from keepstone.training.relevance.ways import Way, way_of


@dataclass(frozen=True, slots=True)
class Adopted:
    """How a collection is searched from now on."""

    collection: str
    """Its name."""
    way: Way
    jobs: tuple[str, ...]
    """Ids of those that cut its documents anew; none where they stay as they are."""


class Adoption:
    """Adopts ways of searching, and undoes it.

    Args:
        database: where collections are.
        ingestion: cuts their documents.
        search: how collections without a choice of their own are searched.
        chunking: how their documents are cut.
    """

    def __init__(
        self, database: Database, ingestion: Ingestion, search: SearchSettings, chunking: ChunkingSettings
    ) -> None:
        self._database, self._ingestion, self._search, self._chunking = database, ingestion, search, chunking

    def way(self, collection: CollectionRow) -> Way:
        """Return the way in which a collection is searched now."""
        return way_of(collection, self._search, self._chunking)

    def adopt(self, principal: Principal, collection_id: str, job_id: str, *, current: Way, best: Way) -> Adopted:
        """Search a collection in another way from now on; a second call changes nothing.

        Args:
            principal: who owns it.
            collection_id: which.
            job_id: of the sweep that found the way.
            current: the way that it was compared with.
            best: the way itself.

        Raises:
            Conflict: the collection is searched otherwise than when they were compared.
        """
        with self._database.transaction() as session:
            row = find_collection(session, principal, collection_id, "own")
            if row.adopted and row.adopted["tuning"] == job_id:
                return Adopted(row.name, self.way(row), ())
            if self.way(row) != current:
                raise Conflict(
                    f"{row.name!r} is not searched any more as when ways were compared",
                    fix="Compare again: `keepstone tune retrieval --collection NAME`",
                )
            before: dict[str, Any] = {"search": row.search, "adopted": row.adopted}
            jobs: Sequence[str] = ()
            if best.chunking != current.chunking:
                before["chunking"] = row.chunking
                cut = chunking_of(row, self._chunking).model_dump() | best.chunking
                jobs = self._ingestion.rechunk(principal, row.id, cut, session=session)
            row.search = {**(row.search or {}), **best.search}
            row.adopted = {"tuning": job_id, "at": utc_now().isoformat(), "before": before}
            return Adopted(row.name, self.way(row), tuple(jobs))

    def undo(self, principal: Principal, collection: str) -> Adopted:
        """Search a collection again as before the last adoption.

        Args:
            principal: who owns it.
            collection: name or id.

        Raises:
            Conflict: nothing was adopted for it.
        """
        with self._database.transaction() as session:
            row = find_collection(session, principal, collection, "own")
            if not row.adopted:
                fix = "Have ways of searching compared: `keepstone tune retrieval --collection NAME --adopt`"
                raise Conflict(f"Nothing was adopted for {row.name!r}", fix=fix)
            return Adopted(row.name, *self._restore(session, principal, row, row.adopted["before"]))

    def _restore(
        self, session: Session, principal: Principal, row: CollectionRow, before: dict[str, Any]
    ) -> tuple[Way, tuple[str, ...]]:
        jobs: Sequence[str] = ()
        if "chunking" in before:
            jobs = self._ingestion.rechunk(principal, row.id, before["chunking"] or {}, session=session)
        row.search, row.adopted = before["search"], before["adopted"]
        return self.way(row), tuple(jobs)

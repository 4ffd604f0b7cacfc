"""Datasets, as their people see them: every call names its principal and is authorized.

A dataset holds the text of a collection and what people asked about it, so only who owns the collection sees it; where
the collection is gone, only administrators do.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from keepstone.platform.access import Principal, allowed_actions
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow
from keepstone.platform.errors import NotFound, did_you_mean
from keepstone.training.data.store import Dataset, Datasets


class DatasetLibrary:
    """The datasets of one installation.

    Args:
        database: where collections and rights are.
        store: the datasets themselves.
    """

    def __init__(self, database: Database, store: Datasets) -> None:
        self._database = database
        self.store = store

    def list(self, principal: Principal) -> list[Dataset]:
        """Return the datasets of the principal's own collections, the newest first."""
        found = self.store.list()
        with self._database.reading() as session:
            return [each for each in found if _may_see(session, principal, each)]

    def get(self, principal: Principal, reference: str) -> Dataset:
        """Return the dataset of that id, or the newest of that name.

        Raises:
            NotFound: there is none, or it is made from somebody else's collection.
        """
        mine = self.list(principal)
        for each in mine:
            if reference in (each.id, each.card.name):
                return each
        names = sorted({each.card.name for each in mine})
        fix = did_you_mean(reference, names) if names else "Build one: `keepstone data build --collection NAME`"
        raise NotFound(f"No dataset {reference!r}", fix=fix)

    def remove(self, principal: Principal, reference: str) -> Dataset:
        """Delete a dataset's files; models that were trained on it stay.

        Raises:
            NotFound: there is none, or it is made from somebody else's collection.
            Forbidden: the credential may not write.
        """
        principal.needs_scope("write")
        dataset = self.get(principal, reference)
        self.store.remove(dataset)
        return dataset


def _may_see(session: Session, principal: Principal, dataset: Dataset) -> bool:
    if "read" not in principal.scopes:
        return False
    collection = session.get(CollectionRow, dataset.card.collection_id)
    if collection is None:
        return principal.administers
    return "own" in allowed_actions(session, principal, collection)

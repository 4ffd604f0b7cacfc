"""Indexes: derived from the database, one per collection, safe to delete."""

from keepstone.retrieval.indexes.catalog import IndexSet
from keepstone.retrieval.indexes.collection import CollectionIndex, IndexReport

__all__ = ["CollectionIndex", "IndexReport", "IndexSet"]

"""The database: truth for documents, accounts, conversations, jobs and models."""

from keepstone.platform.database.engine import Database

__all__ = ["Database"]

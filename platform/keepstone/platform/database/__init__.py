"""The database: truth for documents, accounts, conversations, jobs and models."""

from keepstone.platform.database.engine import Database
from keepstone.platform.database.source_tables import SourceFileRow, SourceRow

__all__ = ["Database", "SourceFileRow", "SourceRow"]

"""Backends that the tests of indexes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keepstone.platform.database import Database
from keepstone.retrieval.indexes.postgres_backend import PostgresBackend


@pytest.fixture
def postgres_backend(postgres_url: str) -> Iterator[PostgresBackend]:
    """Return indexes in an empty PostgreSQL."""
    database = Database(postgres_url)
    yield PostgresBackend(database)
    database.close()

"""Filters: only what is known of a document counts, compared by value and kind, on every database."""

from __future__ import annotations

from typing import Any

import pytest

from keepstone.platform.database import Database
from keepstone.platform.database.tables import DocumentRow
from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.filters import matching_chunks
from tests.retrieval.corpus import add_collection, add_document, chunk_ids

_ENCODER = HashEncoder(8)
_DETAILS: list[dict[str, Any] | None] = [
    {"kind": "fact", "year": 2024, "draft": True, "wrör": 'é"\\'},
    {"kind": "fact", "year": "2024", "draft": False},
    {"kind": "rumour", "year": 1.5},
    None,
    {"nested": {"kind": "fact"}},
]


@pytest.fixture
def collection(both_databases: Database) -> str:
    """A collection of one passage for each of the details."""
    collection_id = add_collection(both_databases, _ENCODER)
    for number, details in enumerate(_DETAILS):
        document_id = add_document(both_databases, _ENCODER, collection_id, f"{number}.md", [f"passage {number}"])
        with both_databases.transaction() as session:
            session.get_one(DocumentRow, document_id).details = details
    return collection_id


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"kind": "fact"}, [0, 1]),
        ({"kind": ["fact", "rumour"]}, [0, 1, 2]),
        ({"kind": "fact", "draft": True}, [0]),
        ({"draft": False}, [1]),
        ({"year": 2024}, [0]),
        ({"year": "2024"}, [1]),
        ({"year": 1.5}, [2]),
        ({"wrör": 'é"\\'}, [0]),
        ({"kind": []}, []),
        ({"kind": "fact' OR '1'='1"}, []),
        ({"nested.kind": "fact"}, []),
        ({"unheard": "of"}, []),
    ],
)
def test_what_matches(both_databases: Database, collection: str, where: dict[str, Any], expected: list[int]) -> None:
    chunks = chunk_ids(both_databases, collection)
    assert matching_chunks(both_databases, [collection], where).tolist() == [chunks[number] for number in expected]


@pytest.mark.parametrize(
    "where", [{"": 1}, {'a"b': 1}, {"a\\": 1}, {"a": {}}, {"a": None}, {"a": [[1]]}, {"a": list(range(2000))}]
)
def test_what_cannot_be_asked_is_refused_with_a_fix(database: Database, where: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        matching_chunks(database, ["col"], where)
    assert refused.value.fix

"""Options of search: fusion, regularisation, age, diversity, neighbours; each told by what it explains."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pydantic
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from keepstone.platform.access import Scope
from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChunkRow, DocumentRow
from keepstone.platform.settings import SearchSettings
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes import IndexSet
from keepstone.retrieval.recency import ages, faded
from keepstone.retrieval.search import Searcher
from keepstone.retrieval.types import Hit
from tests.retrieval.corpus import add_collection, add_document

_ENCODER = HashEncoder(64)
_LINES = ("The pump is blue. ", "The pump needs oil. ", "The valve is blue. ", "Call the plumber. ")


@pytest.fixture
def indexes(both_databases: Database, tmp_path: Path) -> Iterator[IndexSet]:
    with IndexSet(both_databases, tmp_path / "indexes", Encoders(_ENCODER)) as opened:
        yield opened


@pytest.fixture
def searcher(both_databases: Database, indexes: IndexSet) -> Searcher:
    return Searcher(both_databases, Encoders(_ENCODER), indexes, SearchSettings())


@pytest.fixture
def scope(both_databases: Database, indexes: IndexSet) -> Scope:
    """Two documents of the same four passages, that end to end are their texts."""
    collection_id = add_collection(both_databases, _ENCODER)
    for name in ("one.md", "two.md"):
        add_document(both_databases, _ENCODER, collection_id, name, _LINES)
    with both_databases.transaction() as session:
        session.execute(sa.update(DocumentRow).values(text="".join(_LINES)))
        for row in session.scalars(sa.select(ChunkRow)):
            row.start = "".join(_LINES).index(row.text)
            row.end = row.start + len(row.text)
    indexes.catch_up_all()
    return Scope((collection_id,))


def _texts(hits: tuple[Hit, ...]) -> list[str]:
    return [hit.text for hit in hits]


def test_ranks_are_fused_where_that_is_asked_for(searcher: Searcher, scope: Scope) -> None:
    result = searcher.search(scope, "oil", options={"fusion": "rrf", "regularisation": 0.0}, explained=True)
    assert _texts(result.hits[:2]) == [_LINES[1]] * 2
    assert result.hits[0].score == result.explanations[0].fused.score == pytest.approx(1 / 61)
    # The signs of evidence read the same quantity whatever orders the hits.
    convex = searcher.search(scope, "oil", options={"regularisation": 0.0})
    assert result.hits[0].fused_score == convex.hits[0].fused_score == convex.hits[0].score


def test_regularisation_reorders_and_leaves_the_fused_score(searcher: Searcher, scope: Scope) -> None:
    result = searcher.search(scope, "blue pump", explained=True)
    for hit, told in zip(result.hits, result.explanations, strict=True):
        assert hit.score == told.regularised.score == told.faded.score == told.final.score
        assert hit.fused_score == told.fused.score
    assert [hit.score for hit in result.hits] != [hit.fused_score for hit in result.hits]


def test_diverse_hits_do_not_repeat_each_other(searcher: Searcher, scope: Scope) -> None:
    assert _texts(searcher.search(scope, "blue pump", k=2).hits) == [_LINES[0]] * 2
    diverse = searcher.search(scope, "blue pump", k=2, options={"diversity": 0.9}, explained=True)
    assert diverse.hits[0].text == _LINES[0]
    assert diverse.hits[1].text != _LINES[0]
    assert [told.final.rank for told in diverse.explanations] == [1, 2]


def test_hits_are_read_with_their_neighbours(searcher: Searcher, scope: Scope) -> None:
    """Exact spans, no further than the document, and nothing twice."""
    text = "".join(_LINES)
    hits = searcher.search(scope, "oil", k=4, options={"neighbours": 1}).hits
    assert _texts(hits[:2]) == ["".join(_LINES[:3])] * 2
    assert all(hit.text == text[hit.start : hit.end] and hit.found is not None for hit in hits)
    for hit in hits[:2]:
        assert hit.found == (len(_LINES[0]), len(_LINES[0] + _LINES[1]))
    assert {hit.document_name for hit in hits[:2]} == {"one.md", "two.md"}
    everything = searcher.search(scope, "oil", options={"neighbours": 20}).hits
    assert _texts(everything) == [text] * 2
    exact = searcher.search(scope, "oil", k=1, options={"neighbours": 1}, widened=False).hits
    assert _texts(exact) == [_LINES[1]]


def test_newer_documents_come_first_where_age_counts(
    searcher: Searcher, scope: Scope, both_databases: Database
) -> None:
    """By the date that is known of a document, else by the day it was added."""
    with both_databases.transaction() as session:
        of_one = sa.update(DocumentRow).where(DocumentRow.name == "one.md")
        session.execute(of_one.values(details={"date": "2001-02-03"}))
    assert searcher.search(scope, "oil", k=1).hits[0].document_name == "one.md"
    result = searcher.search(scope, "oil", k=2, options={"half_life_days": 365}, explained=True)
    assert [hit.document_name for hit in result.hits] == ["two.md", "two.md"]
    told = result.explanations[0]
    assert told.faded.score == pytest.approx(told.regularised.score, abs=1e-6)


def test_ages_are_those_of_the_documents(both_databases: Database, scope: Scope) -> None:
    now = datetime(2026, 1, 11, tzinfo=UTC)
    with both_databases.transaction() as session:
        chunks = session.scalars(sa.select(ChunkRow.id).where(ChunkRow.ordinal == 0).order_by(ChunkRow.id)).all()
        [one, two] = session.scalars(sa.select(DocumentRow).order_by(DocumentRow.name))
        one.details, two.details = {"date": "2026-01-01T00:00:00Z"}, {"date": "last week"}
        two.created_at = now + timedelta(days=1)
    with both_databases.reading() as session:
        assert ages(session, [*chunks, 999_999], now).tolist() == [10.0, 0.0, 0.0]


@given(st.lists(st.floats(-100, 100), max_size=10), st.floats(0.1, 1000))
def test_what_fades_keeps_its_order_among_those_of_its_age(scores: list[float], half_life: float) -> None:
    before = np.array(scores)
    after = faded(before, np.full(len(scores), half_life), half_life=half_life)
    lowest = min(scores, default=0.0)
    assert np.allclose(after - lowest, (before - lowest) / 2)


def test_options_that_cannot_be_are_refused(searcher: Searcher, scope: Scope) -> None:
    with pytest.raises(pydantic.ValidationError):
        searcher.search(scope, "oil", options={"fusion": "sum"})

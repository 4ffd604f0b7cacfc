"""A few rounds of the benchmark `kill_index`: no kill leaves an index that differs from the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kill_index


@pytest.mark.parametrize(
    ("store", "url"), [("hnsw", "sqlite_url"), pytest.param("pgvector", "postgres_url", marks=pytest.mark.postgres)]
)
def test_a_killed_process_leaves_indexes_that_equal_the_database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, url: str
) -> None:
    monkeypatch.setattr(kill_index, "_LONGEST_LIFE_S", 0.5)
    outcome = kill_index.kill_repeatedly(
        request.getfixturevalue(url), tmp_path / "indexes", kill_index.STORES[store], kills=3, seed=1
    )
    assert (outcome.kills, outcome.index_faults, outcome.differing_results) == (3, 0, 0)
    assert store == "hnsw" or not outcome.reordered

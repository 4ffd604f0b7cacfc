"""A killed app loses nothing: the short form of `python -m benchmarks.kill_ingest`."""

from pathlib import Path

import pytest

from benchmarks.kill_ingest import kill_repeatedly

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_nothing_is_lost_or_doubled_by_kills_in_mid_ingest(tmp_path: Path) -> None:
    outcome = kill_repeatedly(tmp_path, kills=3, documents=60, seed=0)
    assert (outcome.wrong_documents, outcome.index_faults) == (0, 0)

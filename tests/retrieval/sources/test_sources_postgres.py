"""Sources on PostgreSQL: rows, locks and cascades are alike there."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstone.platform.database.source_tables import SourceRow
from tests.retrieval.sources.kit import added, documents, filled, look, settings
from tests.stack import WAIT_S, admin, open_stack


@pytest.mark.postgres
def test_a_folder_is_mirrored_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    """From the first look to the removal with all documents."""
    folder = filled(tmp_path / "srv")
    with open_stack(tmp_path / "home", database={"url": postgres_url}, **settings(folder)) as runtime:
        runtime.sources.stop()
        me = admin(runtime)
        runtime.library.create_collection(me, "docs")
        source = added(runtime, folder / "docs")
        (folder / "docs" / "guide.md").unlink()
        look(runtime, source)
        assert documents(runtime) == {"docs/pumps/p40.md": "ready"}
        with runtime.database.transaction() as session:
            session.get_one(SourceRow, source.id).checked_at = None
        assert len(runtime.sources.order_due()) == 1
        runtime.jobs.wait(str(runtime.sources.remove(me, "docs", source.id, documents=True)), WAIT_S)
        assert documents(runtime) == {}
        assert runtime.sources.of(me, "docs") == []

"""What handing in a file costs: nothing that grows with the collection."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.stack import admin, open_stack


def test_a_file_is_added_without_reading_all_documents(tmp_path: Path) -> None:
    """Ten thousand documents made each further one cost 8 ms."""
    asked: list[tuple[str, Any]] = []

    def note(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
        del cursor
        if "FROM documents" in statement and threading.current_thread() is threading.main_thread():
            asked.append((statement, parameters))

    with open_stack(tmp_path / "home") as runtime:
        runtime.library.create_collection(admin(runtime), "docs")
        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            runtime.library.add_document(admin(runtime), "docs", "guide.md", io.BytesIO(b"The lamp lasts 900 hours."))
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
        with runtime.database.reading() as session:
            explain = session.connection().exec_driver_sql
            plans = [row.detail for each, given in asked for row in explain(f"EXPLAIN QUERY PLAN {each}", given)]
    reads = [plan for plan in plans if " documents " in plan]
    assert len(reads) >= 2
    assert [plan for plan in reads if "SCAN" in plan or plan.endswith("(collection_id=?)")] == []

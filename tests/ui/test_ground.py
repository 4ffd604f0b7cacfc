"""The home folder, also one that was there before, shows nothing to other people of the machine."""

from __future__ import annotations

import os
from pathlib import Path

from tests.stack import admin, ingest, open_stack


def test_nothing_written_below_a_folder_open_to_all_can_be_read_by_others(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    before = os.umask(0o022)
    try:
        with open_stack(home) as runtime:
            ingest(runtime, admin(runtime), "manual", {"a.md": b"# Warranty\n\nIt lasts two years."})
            shown = [path.relative_to(home) for path in home.rglob("*") if path.stat().st_mode & 0o077]
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert shown == []

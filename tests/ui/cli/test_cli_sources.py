"""`keepstone sources`, from the command line through the API to the documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ui.cli.conftest import Keepstone, parsed


def test_a_source_is_added_looked_through_and_removed(
    keepstone: Keepstone, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step says what came of it, and refusals name the setting that would allow it."""
    keepstone("collections", "create", "manual")
    refused = keepstone("sources", "add", folder, "-c", "manual")
    assert refused.exit_code == 1
    assert "sources.allowed_folders" in refused.output
    monkeypatch.setenv("KEEPSTONE_SOURCES__ALLOWED_FOLDERS", json.dumps([str(folder)]))
    added = parsed(keepstone("sources", "add", folder, "-c", "manual", "--name", "desk", "--json"))
    assert (added["name"], added["files"], added["problems"], added["looking"]) == ("desk", 3, 0, False)
    listed = parsed(keepstone("documents", "list", "-c", "manual", "--json"))
    assert {each["name"]: each["state"] for each in listed} == {
        "desk/empty.txt": "failed", "desk/sub/care.md": "ready", "desk/warranty.md": "ready",
    }  # fmt: skip
    (folder / "sub" / "care.md").unlink()
    assert "watched" in keepstone("sources", "sync", "desk", "-c", "manual").output
    assert len(parsed(keepstone("documents", "list", "-c", "manual", "--json"))) == 2
    assert "desk" in keepstone("sources", "list", "-c", "manual").output
    (folder / "empty.txt").unlink()
    (folder / "warranty.md").unlink()
    emptied = keepstone("sources", "sync", "desk", "-c", "manual")
    assert emptied.exit_code == 1
    assert "--empty" in emptied.output
    assert keepstone("sources", "remove", "desk", "-c", "manual", "--documents", "--yes").exit_code == 0
    assert parsed(keepstone("sources", "list", "-c", "manual", "--json")) == []
    assert parsed(keepstone("documents", "list", "-c", "manual", "--json")) == []

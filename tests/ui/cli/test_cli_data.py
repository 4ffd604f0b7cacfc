"""`keepstone data`: with an app that runs, and without one where no language model is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.training.data.handbooks import handbooks
from tests.ui.cli.conftest import App, parsed

Keepstone = Callable[..., Result]


@pytest.fixture
def manuals(tmp_path: Path) -> Path:
    """Return a folder with enough to learn from."""
    folder = tmp_path / "manuals"
    folder.mkdir()
    for name, content in handbooks(20).items():
        (folder / name).write_bytes(content)
    return folder


def test_a_dataset_is_built_listed_shown_and_deleted_without_an_app(keepstone: Keepstone, manuals: Path) -> None:
    assert keepstone("ingest", manuals, "-c", "Manuals").exit_code == 0
    built = keepstone("--json", "data", "build", "-c", "Manuals", "--source", "sentences", "--passages", "60")
    assert built.exit_code == 0, built.stderr
    dataset = parsed(built)
    assert Path(dataset["folder"], "retrieval", "train.jsonl").is_file()
    assert dataset["id"] in keepstone("data", "list").stdout
    shown = keepstone("data", "show", "manuals").stdout
    assert "taken from the documents' own sentences" in shown
    assert "preferences/train.jsonl" in shown
    assert keepstone("data", "delete", "manuals", "--yes").exit_code == 0
    missing = keepstone("data", "show", "manuals")
    assert missing.exit_code == 1
    assert "keepstone data build" in missing.stderr


def test_what_is_too_little_is_said_in_a_sentence(keepstone: Keepstone, running: App, folder: Path) -> None:
    assert keepstone("ingest", folder / "warranty.md", "-c", "few").exit_code == 0
    refused = keepstone("data", "build", "-c", "few", "--source", "sentences")
    assert refused.exit_code == 1
    assert "too few documents" in refused.stderr
    assert "Traceback" not in refused.output
    assert keepstone("data", "list").stdout.startswith("No datasets yet")

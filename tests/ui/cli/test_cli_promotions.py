"""`keepstone models promote`, `rollback` and `history`, without an app: an encoder needs no engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from typer.testing import Result

from keepstone.platform.database import Database
from keepstone.platform.models.registry import ModelRegistry
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.platform.settings import default_home, load_settings
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.ui.cli import inprocess
from keepstone.ui.runtime import Runtime
from tests.ui.cli.conftest import parsed

Keepstone = Callable[..., Result]


@pytest.fixture
def two_encoders(keepstone: Keepstone, monkeypatch: pytest.MonkeyPatch) -> Keepstone:
    """Return the command line over a home folder with a second encoder."""
    tuned = HashEncoder(32)
    tuned.version = "tuned@2"
    encoders = Encoders(HashEncoder(), {tuned.version: tuned}.__getitem__)
    light = partial(Runtime.open, engine=ScriptedEngine(default="Yes. [1]"), encoder=encoders)
    monkeypatch.setattr(inprocess, "open_runtime", light)
    database = Database(load_settings().database_url)
    database.upgrade()
    folder = default_home() / "models" / "tuned" / "2"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    ModelRegistry(database, default_home()).add(
        name="tuned", kind="encoder", version="2", path=folder, source="test", details={}
    )
    database.close()
    return keepstone


def test_an_encoder_is_promoted_and_rolled_back(two_encoders: Keepstone, tmp_path: Path) -> None:
    page = tmp_path / "warranty.md"
    page.write_text("The warranty lasts two years.")
    assert two_encoders("ingest", page, "-c", "Manuals").exit_code == 0
    assert two_encoders("models", "history").stdout.startswith("Nothing was promoted yet")
    refused = two_encoders("models", "promote", "tuned", "-c", "Manuals")
    assert refused.exit_code == 1
    assert "it has not been judged" in refused.stderr
    assert "--force" in refused.stderr
    done = two_encoders("models", "promote", "tuned", "-c", "Manuals", "--force")
    assert done.exit_code == 0, done.stderr
    assert "tuned@2 is live for Manuals" in done.stdout
    assert "models rollback --collection 'Manuals'" in done.stdout
    [listed] = [each for each in parsed(two_encoders("--json", "models", "list")) if each["name"] == "tuned"]
    assert listed["in_use"]
    back = two_encoders("models", "rollback", "-c", "Manuals")
    assert "hash-64 is live again for Manuals" in back.stdout, back.stderr
    assert "rolled back" in two_encoders("models", "history").stdout


def test_what_is_missing_is_named(two_encoders: Keepstone) -> None:
    assert "Say --collection NAME" in two_encoders("models", "promote", "tuned", "--force").stderr
    assert "keepstone models pull" in two_encoders("models", "promote", "nobody", "--force").stderr
    assert "Nothing was promoted" in two_encoders("models", "rollback").stderr

"""`keepstone doctor` says what is wrong and what mends it; `db` and `models` work on the home folder alone."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from keepstone.platform.blobs import BlobStore
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, DocumentRow, PrincipalRow
from keepstone.platform.models.registry import ModelRegistry
from keepstone.platform.settings import default_home, load_settings
from tests.ui.cli.conftest import Keepstone, parsed


def _checks(keepstone: Keepstone) -> dict[str, Any]:
    return {each["name"]: each for each in parsed(keepstone("doctor", "--json"))["checks"]}


def test_a_fresh_machine_is_told_what_to_install(keepstone: Keepstone) -> None:
    result = keepstone("doctor")
    assert result.exit_code == 1
    checks = _checks(keepstone)
    assert checks["python"]["state"] == "ok"
    assert checks["engine"]["state"] == "fail"
    assert checks["models"]["fix"] == "Run `keepstone models pull all-minilm-l6-v2`"
    assert "keepstone engine install" in result.stdout


def test_every_failure_names_a_fix(keepstone: Keepstone) -> None:
    for check in _checks(keepstone).values():
        assert check["state"] == "ok" or check["fix"], check


def test_ports_in_use_are_found(keepstone: Keepstone, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("KEEPSTONE_APP__PORT", str(port))
        monkeypatch.setenv("KEEPSTONE_ENGINE__PORT", str(port))
        checks = _checks(keepstone)
    assert checks["app port"]["state"] == checks["engine port"]["state"] == "fail"
    assert "app.port" in checks["app port"]["fix"]
    assert "engine.port" in checks["engine port"]["fix"]


def test_an_encoders_server_that_is_away_is_found(keepstone: Keepstone, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = {"url": "http://127.0.0.1:1/v1", "dimension": 384, "model": "bge-m3"}
    monkeypatch.setenv("KEEPSTONE_ENCODER", json.dumps(encoder))
    monkeypatch.setenv("KEEPSTONE_ENGINE__MODE", "off")
    checks = _checks(keepstone)
    assert checks["models"]["state"] == "ok"
    assert checks["encoder"]["message"] == "The encoder's server at http://127.0.0.1:1/v1 does not answer"
    assert "encoder.url" in checks["encoder"]["fix"]


def test_a_home_that_cannot_be_made_is_found(
    keepstone: Keepstone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("KEEPSTONE_HOME", str(tmp_path / "file" / "home"))
    checks = _checks(keepstone)
    assert checks["home"]["state"] == "fail"
    assert "KEEPSTONE_HOME" in checks["home"]["fix"]


def test_a_home_that_others_may_read_is_a_warning(keepstone: Keepstone) -> None:
    default_home().mkdir(mode=0o755)
    assert _checks(keepstone)["home"]["state"] == "warn"


def test_a_damaged_database_is_found(keepstone: Keepstone) -> None:
    default_home().mkdir(mode=0o700)
    (default_home() / "keepstone.db").write_bytes(b"this is no database" * 100)
    check = _checks(keepstone)["database"]
    assert check["state"] == "fail"
    assert "damaged" in check["message"]
    assert check["fix"]


def test_documents_without_their_file_and_files_without_a_document_are_found(keepstone: Keepstone) -> None:
    settings = load_settings()
    database, blobs = Database(settings.database_url), BlobStore(settings.blob_url)
    database.upgrade()
    assert _checks(keepstone)["files"]["state"] == "ok"
    stray = blobs.put(io.BytesIO(b"x"), max_bytes=10).sha256
    check = _checks(keepstone)["files"]
    assert check["state"] == "warn"
    assert stray in check["message"]
    with database.transaction() as session:
        session.add(PrincipalRow(id="p", name="ann"))
        session.flush()
        session.add(CollectionRow(id="c", name="c", owner_id="p", encoder="e"))
        session.flush()
        session.add_all(
            DocumentRow(collection_id="c", name=f"{number}.pdf", size=1, sha256="0" * 64) for number in range(5)
        )
    database.close()
    check = _checks(keepstone)["files"]
    assert check["state"] == "fail"
    assert check["message"].endswith("0.pdf, 1.pdf, 2.pdf and 2 more")


def test_an_external_engine_that_does_not_answer_is_found(
    keepstone: Keepstone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPSTONE_ENGINE__MODE", "external")
    monkeypatch.setenv("KEEPSTONE_ENGINE__URL", "http://127.0.0.1:9/v1")
    check = _checks(keepstone)["engine"]
    assert check["state"] == "fail"
    assert "engine.url" in check["fix"]


def test_the_schema_is_brought_up_once(keepstone: Keepstone) -> None:
    head = parsed(keepstone("db", "current", "--json"))["head"]
    assert "keepstone db upgrade" in keepstone("db", "current").stdout
    assert parsed(keepstone("db", "upgrade", "--json")) == {"before": None, "current": head}
    assert f"Already at {head}" in keepstone("db", "upgrade").stdout
    assert keepstone("db", "current").stdout == f"{head}\n"
    assert default_home().stat().st_mode & 0o077 == 0


def test_models_are_listed_recommended_and_verified(keepstone: Keepstone, tmp_path: Path) -> None:
    assert "keepstone models pull starter" in keepstone("models", "list").stdout
    catalog = parsed(keepstone("models", "list", "--catalog", "--json"))
    assert "smollm2-135m-instruct" in {each["name"] for each in catalog}
    assert "smollm2-135m-instruct" in keepstone("models", "list", "--catalog").stdout
    assert set(parsed(keepstone("models", "recommend", "--json"))) == {"machine", "best", "better"}
    database = Database(load_settings().database_url)
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    ModelRegistry(database, default_home()).add(
        name="mine", kind="llm", version="0123456789abcdef", path=folder, source="test", details={}
    )
    database.close()
    assert parsed(keepstone("models", "list", "--json"))[0]["name"] == "mine"
    broken = keepstone("models", "verify", "mine")
    assert broken.exit_code == 1
    assert "missing" in broken.stdout


def test_a_model_that_is_not_there_names_the_nearest(keepstone: Keepstone) -> None:
    result = keepstone("models", "pull", "smollm2-135m-instrukt")
    assert result.exit_code == 1
    assert "Did you mean 'smollm2-135m-instruct'?" in result.stderr


def test_a_log_that_is_not_there_yet_is_no_crash(keepstone: Keepstone) -> None:
    result = keepstone("engine", "logs")
    assert result.exit_code == 1
    assert "keepstone up" in result.stderr
    path = default_home() / "logs" / "engine.log"
    path.parent.mkdir(parents=True)
    path.write_text("one\n\x1b[31mtwo\nthree\n")
    assert keepstone("engine", "logs", "-n", "2").stdout == "[31mtwo\nthree\n"

"""`keepstone eval` and `keepstone tune`, without an app."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from keepstone.platform.settings import default_home
from keepstone.retrieval.encoder import HashEncoder
from keepstone.ui.cli import beir
from tests.stack import admin, ingest, open_stack
from tests.training.data.handbooks import handbooks
from tests.ui.cli.conftest import parsed

Keepstone = Callable[..., Result]


@pytest.fixture
def judgements(tmp_path: Path) -> Path:
    """Return a file of judgements on a collection of handbooks, which is there."""
    with open_stack(default_home()) as runtime:
        ingest(runtime, admin(runtime), "manuals", handbooks(10))
        names = [each.name for each in runtime.library.documents(admin(runtime), "manuals")]
    path = tmp_path / "judged.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"What does {n} say?", "relevant": [n]}) for n in names))
    return path


def test_a_collection_is_measured_and_tuned(keepstone: Keepstone, judgements: Path) -> None:
    measured = keepstone("eval", "retrieval", "--collection", "manuals", "--judgements", judgements, "--json")
    assert measured.exit_code == 0, measured.output
    report = parsed(measured)
    assert report["questions"] == 10
    shown = keepstone("eval", "retrieval", "-c", "manuals", "--k", "5")
    assert "ndcg@5" in shown.stdout
    assert "10 about 10 documents" in shown.stdout
    detached = keepstone("eval", "retrieval", "-c", "manuals", "--detach")
    assert "keepstone eval show job_" in detached.stdout
    tuned = keepstone("tune", "retrieval", "-c", "manuals", "--no-recut")
    assert tuned.exit_code == 0, tuned.output
    assert "In use" in tuned.stdout
    assert "Searched" in keepstone("collections", "show", "manuals").stdout
    assert "Nothing was adopted" in keepstone("tune", "undo", "-c", "manuals").stderr
    assert "Forgot 10" in keepstone("eval", "forget", "-c", "manuals").stdout
    assert "--judgements" in keepstone("eval", "retrieval", "-c", "manuals", "--questions", "judged").stderr
    assert "No question could be made" in keepstone("eval", "retrieval", "-c", "manuals").stderr


def test_a_bad_file_is_named_by_its_line(keepstone: Keepstone, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("{}\n")
    refused = keepstone("eval", "retrieval", "-c", "x", "--judgements", path)
    assert refused.exit_code == 1
    assert "Line 1" in refused.stderr


def test_a_public_collection_is_measured_in_a_store_of_its_own(
    keepstone: Keepstone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "machines"
    (folder / "qrels").mkdir(parents=True)
    texts = {"1": "The lamp lasts 900 hours.", "2": "The fuse blows at 3 ampere."}
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps({"_id": i, "text": t}) for i, t in texts.items()))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "How long does the lamp last?"}))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    monkeypatch.setattr(beir, "find_encoder", lambda _settings: HashEncoder())
    run = tmp_path / "machines.run"
    shown = keepstone("eval", "retrieval", "--beir", folder, "--run", run)
    assert shown.exit_code == 0, shown.output
    assert "ndcg@10" in shown.stdout
    assert run.read_text().startswith("q Q0 1 1 ")
    assert "--collection" in keepstone("eval", "retrieval").stderr
    assert not list(default_home().glob("**/machines*")), "nothing of it is left at home"

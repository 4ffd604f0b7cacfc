"""`keepstone evaluate` and `keepstone verdicts`, without an app."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from typer.testing import Result

from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.platform.settings import default_home
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.training.data import DatasetConfig
from keepstone.ui.cli import inprocess
from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, admin, ingest, open_stack
from tests.training.data.handbooks import handbooks
from tests.ui.cli.conftest import parsed

Keepstone = Callable[..., Result]


@pytest.fixture
def candidate(monkeypatch: pytest.MonkeyPatch, keepstone: Keepstone, tmp_path: Path) -> str:
    """Return an encoder that is installed beside the one of a collection which has a dataset."""
    del keepstone
    better = HashEncoder(256)
    better.version = "better@1"
    encoders = Encoders(HashEncoder(8), lambda _version: better)
    monkeypatch.setattr(inprocess, "open_runtime", partial(Runtime.open, engine=ScriptedEngine(), encoder=encoders))
    (tmp_path / "config.json").write_text("{}")
    with open_stack(default_home(), encoder=encoders) as runtime:
        ingest(runtime, admin(runtime), "manuals", handbooks(20))
        order = DatasetConfig(collection="manuals", source="sentences", test_share=0.4)
        runtime.jobs.wait(runtime.dataset_builder.submit(admin(runtime), order), WAIT_S)
        runtime.registry.add(
            name="better", kind="encoder", version="1", path=tmp_path, source="test", details={"training": {}}
        )
    return "better"


def test_a_candidate_is_planned_judged_and_its_verdict_shown(keepstone: Keepstone, candidate: str) -> None:
    plan = keepstone("evaluate", candidate, "-d", "manuals", "--plan")
    assert plan.exit_code == 0, plan.output
    assert "better@1" in plan.stdout
    assert "better search" in plan.stdout
    judged = keepstone("--json", "evaluate", candidate, "-d", "manuals")
    assert judged.exit_code == 0, judged.output
    verdict = parsed(judged)
    assert verdict["outcome"] in ("promote", "refuse")
    listed = keepstone("verdicts", "list", "-c", "manuals").stdout
    assert verdict["id"] in listed
    shown = keepstone("verdicts", "show", verdict["id"]).stdout
    assert verdict["reasons"][0] in " ".join(shown.split())
    assert "nDCG@10" in shown


def test_what_is_not_there_is_said_with_the_fix(keepstone: Keepstone) -> None:
    assert keepstone("verdicts", "list").stdout.startswith("No verdicts yet")
    missing = keepstone("verdicts", "show", "vrd_none")
    assert missing.exit_code == 1
    assert "keepstone verdicts list" in missing.stderr
    unknown = keepstone("evaluate", "better", "-d", "nothing")
    assert unknown.exit_code == 1
    assert "No dataset 'nothing'" in unknown.stderr

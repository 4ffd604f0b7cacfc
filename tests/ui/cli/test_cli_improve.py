"""`keepstone improve` and `keepstone reports` without an app: plan, refusal, report, wrong options."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstone.platform.settings import default_home
from keepstone.training.improve.record import Records
from tests.training.improve.records import finished
from tests.training.runs.run_kit import prepare
from tests.ui.cli.conftest import Keepstone, parsed

pytestmark = pytest.mark.recipes


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTONE_ENCODER__MODEL", "tiny")
    default_home().mkdir(parents=True, mode=0o700)
    prepare(default_home())


def test_it_is_planned_refused_in_words_and_reported(keepstone: Keepstone, folder: Path) -> None:
    """A collection of one document teaches nothing: nothing is trained, and the report says why."""
    assert keepstone("ingest", folder / "warranty.md", "-c", "few").exit_code == 0
    plan = keepstone("improve", "-c", "few", "--plan")
    assert plan.exit_code == 0, plan.output
    for said in ("train embedding", "judge embedding", "a verdict takes 20"):
        assert said in plan.stdout
    failed = keepstone("improve", "-c", "few")
    assert failed.exit_code == 1
    assert "too few documents" in failed.stderr
    [report] = parsed(keepstone("reports", "list", "--json"))
    assert report["state"] == "failed"
    assert "too few documents" in keepstone("reports", "show", report["id"]).stdout
    assert "<html" in keepstone("reports", "show", report["id"], "--form", "html").stdout
    assert parsed(keepstone("runs", "list", "--json")) == []


def test_a_report_outlives_its_job(keepstone: Keepstone) -> None:
    Records(default_home() / "reports").save(finished("manuals"))
    [shown] = parsed(keepstone("reports", "list", "--json"))
    assert shown["state"] == "gone"
    assert "keepstone models rollback" in keepstone("reports", "show", shown["id"]).stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("improve", "-c", "nowhere"), "nowhere"),
        (("improve", "-c", "x", "--set", "epochs=2"), "embedding.epochs"),
        (("improve", "-c", "x", "--set", "embeding.epochs=2"), "Did you mean 'embedding'"),
        (("improve", "-c", "x", "--make", "magic"), "embedding"),
        (("reports", "show", "job_none"), "keepstone reports list"),
    ],
)
def test_a_wrong_order_is_answered_with_what_mends_it(keepstone: Keepstone, line: tuple[str, ...], said: str) -> None:
    result = keepstone(*line)
    assert result.exit_code == 1
    assert said in result.stderr

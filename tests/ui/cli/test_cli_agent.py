"""`keepstone agent`: a run is shown as it goes, and can be looked at later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ui.cli.conftest import ANSWER, App, Keepstone, parsed

STEP = json.dumps({"thought": "I look it up.", "calls": [{"tool": "calculator", "arguments": {"expression": "2*12"}}]})
READY = json.dumps({"thought": "I have it.", "answer": True})


@pytest.fixture
def asked(running: App, keepstone: Keepstone, folder: Path) -> App:
    """Return an app with documents whose model calculates, and then is ready."""
    assert keepstone("ingest", folder / "warranty.md", "--collection", "manuals").exit_code == 0
    decisions = [STEP]
    running.engine._default = lambda request: (
        ANSWER if request.json_schema is None else decisions.pop() if decisions else READY
    )
    return running


def test_a_run_is_shown_step_by_step(asked: App, keepstone: Keepstone) -> None:
    shown = keepstone("agent", "run", "How long is the warranty?", "--collection", "manuals")
    assert shown.exit_code == 0, shown.output
    for piece in ("1. First I search", "I look it up.", 'calculator(expression="2*12")', "2*12 = 24", ANSWER):
        assert piece in shown.stdout
    assert "warranty.md" in shown.stdout


def test_json_has_the_steps_and_the_sources(asked: App, keepstone: Keepstone) -> None:
    run = parsed(keepstone("agent", "run", "How long?", "-c", "manuals", "--max-steps", "3", "--json"))
    assert run["answer"] == ANSWER
    assert [step["thought"] for step in run["steps"]][1:] == ["I look it up.", "I have it."]
    assert run["keepstone"]["outcome"] == "answered"


def test_runs_are_listed_and_shown(asked: App, keepstone: Keepstone) -> None:
    assert "No runs." in keepstone("agent", "list").stdout
    run_id = parsed(keepstone("agent", "run", "How long?", "-c", "manuals", "--json"))["id"]
    assert [each["id"] for each in parsed(keepstone("agent", "list", "--json"))] == [run_id]
    assert run_id in keepstone("agent", "list").stdout
    shown = keepstone("agent", "show", run_id).stdout
    assert "2*12 = 24" in shown
    assert ANSWER in shown


def test_what_goes_wrong_names_its_fix(asked: App, keepstone: Keepstone) -> None:
    missing = keepstone("agent", "show", "run_0")
    assert missing.exit_code == 1
    assert "keepstone agent list" in missing.stderr
    asked.engine.available = False
    failed = keepstone("agent", "run", "How long?", "-c", "manuals")
    assert failed.exit_code == 1
    assert "keepstone status" in failed.stderr


def test_an_agent_needs_the_app(keepstone: Keepstone) -> None:
    refused = keepstone("agent", "run", "How long?")
    assert refused.exit_code == 1
    assert "keepstone up" in refused.stderr

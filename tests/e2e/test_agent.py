"""The agent on the real engine: the smallest model writes steps that can be read, and the answer is grounded."""

from __future__ import annotations

import json

import pytest

from benchmarks.app import App
from benchmarks.smoke import COLLECTION
from keepstone.agents.react.decisions import MAX_CALLS, MAX_THOUGHT_CHARS

pytestmark = [pytest.mark.e2e, pytest.mark.agents, pytest.mark.timeout(900)]

QUESTION = "Is it OK to wipe the balance with acetone?"


def test_a_run_of_the_smallest_model_keeps_to_its_schema_and_answers(app: App) -> None:
    run = app.json("agent", "run", QUESTION, "--collection", COLLECTION, "--max-steps", "2")
    assert run["state"] == "finished"
    assert run["ended"] in ("model", "steps", "loop")
    assert run["outcome"] == "answered"
    assert "acetone" in run["answer"].casefold()
    decisions = run["steps"][1:]
    assert decisions
    for step in decisions:
        assert len(step["thought"]) <= MAX_THOUGHT_CHARS
        assert len(step["calls"]) <= MAX_CALLS
        assert all(call["tool"] in ("search", "read", "list_documents", "calculator") for call in step["calls"])
    cited = [source["document"] for source in run["keepstone"]["sources"] if source["cited"]]
    assert "Corvan 220 User Manual.pdf" in cited


def test_the_answer_names_its_run(app: App) -> None:
    run = app.json("agent", "run", QUESTION, "--collection", COLLECTION, "--max-steps", "1")
    with app.client() as http:
        record = http.get(f"/v1/answers/{run['answer_id']}").json()
    assert record["agent"]["run_id"] == run["id"]
    assert json.dumps(record["agent"]["steps"]).count('"tool"') >= 1

"""The agent on the real engine: the smallest model writes steps that can be read, and the answer is grounded."""

from __future__ import annotations

import json

import openai
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


def test_the_official_client_asks_the_agent_through_responses(app: App) -> None:
    """The whole way of a function of the caller's on a real model, too small to be relied on to want one."""
    client = openai.OpenAI(base_url=f"{app.url}/v1", api_key=app.key, max_retries=0, timeout=600)
    response = client.responses.create(model=COLLECTION, input=QUESTION)
    assert response.status == "completed"
    assert "acetone" in response.output_text.casefold()
    assert response.output[1].type == "file_search_call"
    cited = [each.filename for each in response.output[-1].content[0].annotations]  # type: ignore[union-attr]
    assert "Corvan 220 User Manual.pdf" in cited
    events = list(client.responses.create(model=COLLECTION, input=QUESTION, stream=True))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == response.output_text


def test_a_function_of_the_caller_is_called_under_its_schema(app: App) -> None:
    client = openai.OpenAI(base_url=f"{app.url}/v1", api_key=app.key, max_retries=0, timeout=600)
    stock = {
        "type": "function",
        "name": "units_in_stock",
        "description": "Tells how many units of an article are in stock.",
        "parameters": {
            "type": "object",
            "properties": {"article": {"type": "string", "maxLength": 40}, "depot": {"enum": ["north", "south"]}},
            "required": ["article", "depot"],
        },
    }
    bare = next(each.id for each in client.models.list() if each.model_extra["keepstone"]["kind"] == "llm")  # type: ignore[index]
    asked = "How many units of the Corvan 220 are in stock in the depot north? Call units_in_stock."
    first = client.responses.create(model=bare, input=asked, tools=[stock])  # type: ignore[list-item]
    calls = [item for item in first.output if item.type == "function_call"]
    for call in calls:
        arguments = json.loads(call.arguments)
        assert set(arguments) == {"article", "depot"}
        assert arguments["depot"] in ("north", "south")
    if calls:
        outputs = [{"type": "function_call_output", "call_id": call.call_id, "output": "14 units"} for call in calls]
        second = client.responses.create(model=bare, previous_response_id=first.id, input=outputs)  # type: ignore[arg-type]
        assert second.status == "completed"
        assert second.output_text
    else:
        assert first.output_text

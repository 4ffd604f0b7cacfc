"""What a run is told besides its question reaches the model, is kept over a restart, and is gone on from."""

from __future__ import annotations

import json
from typing import Any

from keepstone.agents.react.brief import Brief, Function, answered_steps
from keepstone.agents.react.prompts import recent
from keepstone.agents.react.types import Called, Observed, RunFinished
from keepstone.agents.types import TextDelta
from keepstone.platform.access import Principal
from keepstone.platform.serving.engine import Message
from keepstone.ui.runtime import Runtime
from tests.agents.react.conftest import ANSWER, Model, calls, make_runs, of_kind

STOCK = Function(
    name="stock", description="Units in stock.", parameters={"type": "object", "properties": {"article": {}}}
)
TALK = (Message("user", "What about the monitor?"), Message("assistant", "It costs 860 euros."))


def brief(**more: Any) -> Brief:
    return Brief(history=TALK, instructions="Be short.", functions=(STOCK,), **more)


def test_it_is_the_same_after_it_was_kept() -> None:
    told = brief(tools=("search",), steps=({"thought": "x"},), max_tokens=9, about={"a": 1})
    kept = Brief.of_json(json.loads(json.dumps(told.to_json())))
    assert kept == told
    assert Brief.of_json(None) == Brief()


def test_only_the_end_of_a_long_conversation_is_read() -> None:
    turns = [Message("user" if at % 2 == 0 else "assistant", f"word {at}") for at in range(20)]
    kept = recent(turns, 45, lambda text: len(text.split()))
    assert kept == tuple(turns[-4:])
    assert recent(turns, 5, lambda text: len(text.split())) == ()


async def test_the_model_reads_the_conversation_and_the_wishes(runtime: Runtime, model: Model, me: Principal) -> None:
    events = [each async for each in make_runs(runtime).run(me, "And its price?", collections=["shop"], brief=brief())]
    first = model.asked[0].messages
    assert [each.content for each in first[1:3]] == [each.content for each in TALK]
    assert first[0].content.endswith("Be short.")
    assert '"stock"' in json.dumps(model.asked[0].json_schema)
    # A follow-up is searched for with the question that it leans on.
    assert "monitor" in of_kind(events, Called)[0].arguments["query"]
    written = model.history[-1].messages
    assert written[1].content == TALK[0].content
    assert "Be short." in written[0].content


async def test_a_run_waits_for_its_callers_function_also_over_a_restart(
    runtime: Runtime, model: Model, me: Principal
) -> None:
    model.ponders = True
    before = make_runs(runtime)
    run_id = await before.start(me, "How many monitors?", collections=["shop"], brief=brief())
    await before.close()
    model.ponders = False
    model.decisions = [calls(("stock", {"article": "monitor"}), ("search", {"query": "monitor"}))]
    after = make_runs(runtime)
    await after.resume()
    told = [each async for each in after.stream(me, run_id)]
    last = told[-1]
    assert isinstance(last, RunFinished)
    assert last.outcome == "waiting"
    assert last.answer is None
    assert [each.tool for each in of_kind(told, Observed)] == ["search", "search"]
    kept = after.get(me, run_id)
    assert (kept.run.state, kept.run.outcome, kept.ended) == ("finished", "waiting", "functions")
    assert kept.steps[-1]["observations"][0]["waiting"] is True

    steps = answered_steps(kept.steps, {(1, 0): "14"})
    going_on = brief(steps=tuple(steps))
    events = [each async for each in after.run(me, "How many monitors?", collections=["shop"], brief=going_on)]
    assert of_kind(events, Called) == []  # what was done before is neither done nor told again
    assert events[-1].outcome == "answered"  # type: ignore[union-attr]
    assert "stock(article='monitor') returned: 14" in model.history[-1].messages[-1].content


async def test_steps_done_before_do_not_count_against_the_budget(runtime: Runtime, model: Model, me: Principal) -> None:
    done = {"thought": "", "calls": [], "observations": [{"text": "x", "error": True}], "tokens": 50}
    model.decisions = [calls(("calculator", {"expression": "1 + 1"}))]
    runs = make_runs(runtime)
    going_on = Brief(steps=(done,) * runs.budget.steps)
    events = [each async for each in runs.run(me, "How many?", collections=["shop"], brief=going_on)]
    assert len(model.asked) == 2
    assert of_kind(events, Called)[-1].step == runs.budget.steps + 2


async def test_without_documents_the_model_answers_by_itself(runtime: Runtime, model: Model, me: Principal) -> None:
    told = Brief(history=TALK, instructions="Be short.")
    runs = make_runs(runtime)
    events = [each async for each in runs.run(me, "Thanks. And the keyboard?", collections=[], brief=told)]
    assert "".join(each.text for each in of_kind(events, TextDelta)) == ANSWER
    assert model.asked == []
    assert [each.role for each in model.history[-1].messages] == ["system", "user", "assistant", "user"]
    kept = runs.get(me, events[0].run_id)  # type: ignore[union-attr]
    assert kept.answer == ANSWER
    assert kept.answer_id is None
    assert kept.run.outcome == "answered"

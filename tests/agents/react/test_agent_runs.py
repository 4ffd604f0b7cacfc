"""A run thinks, acts, observes and answers; it keeps to its budgets, survives a restart, and is its owner's alone."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest
import sqlalchemy as sa

from keepstone.agents.react.records import RunRecords
from keepstone.agents.react.runs import AgentRuns
from keepstone.agents.react.types import (
    Budget,
    Called,
    Observed,
    RunEvent,
    RunFinished,
    RunStarted,
    Thought,
)
from keepstone.agents.tools.base import Observation, ToolContext, tool
from keepstone.agents.types import Finished, TextDelta
from keepstone.platform.access import Principal
from keepstone.platform.database.tables import AgentCheckpointRow, AgentRunRow, AnswerRow
from keepstone.platform.errors import EngineUnavailable, InvalidInput, LimitExceeded, NotFound, StorageFull
from keepstone.platform.serving.engine import ChatRequest, Reply
from keepstone.ui.runtime import Runtime
from tests.agents.react.conftest import ANSWER, READY, Model, calls, make_runs, of_kind
from tests.stack import admin, someone

QUESTION = "How long does the warranty last?"


async def run(runs: AgentRuns, me: Principal, question: str = QUESTION, **more: object) -> list[RunEvent]:
    return [event async for event in runs.run(me, question, collections=["shop"], **more)]  # type: ignore[arg-type]


async def test_it_thinks_acts_observes_and_answers(runtime: Runtime, model: Model, me: Principal) -> None:
    model.decisions = [calls(("search", {"query": "purchase"}), ("calculator", {"expression": "2 * 12"}))]
    runs = make_runs(runtime)
    events = await run(runs, me)
    kinds = [type(event).__name__ for event in events]
    assert kinds[:5] == ["RunStarted", "Thought", "Called", "Observed", "Thought"]
    assert kinds[5:9] == ["Called", "Called", "Observed", "Observed"]
    assert [event.text for event in of_kind(events, Thought)][1:] == ["I look.", "I have it."]
    assert of_kind(events, Observed)[-1].text == "2 * 12 = 24"
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert last.outcome == "answered"
    assert last.answer is not None
    assert last.answer.content == ANSWER
    assert "".join(event.text for event in of_kind(events, TextDelta)) == ANSWER


async def test_the_answer_is_grounded_and_stored_like_any_other(runtime: Runtime, model: Model, me: Principal) -> None:
    """With checked citations, and with the run in its provenance."""
    events = await run(make_runs(runtime), me)
    answer = of_kind(events, Finished)[0].answer
    assert answer.claims[0].supported
    assert answer.cited[0].hit.document_name == "warranty.md"
    record = runtime.conversations.provenance(me, answer.id)
    assert record["agent"]["run_id"] == events[0].run_id  # type: ignore[union-attr]
    assert record["agent"]["ended"] == "model"
    assert record["agent"]["steps"][0]["calls"][0]["tool"] == "search"
    assert record["passages"][0]["document"] == "warranty.md"


async def test_the_model_is_held_to_the_schema_of_its_tools(runtime: Runtime, model: Model, me: Principal) -> None:
    await run(make_runs(runtime), me)
    schema = json.dumps(model.asked[0].json_schema)
    for name in ("search", "read", "list_documents", "calculator"):
        assert f'{{"const": "{name}"}}' in schema
    seen = model.asked[0].messages[-1].content
    assert '<observation tool="search">' in seen
    assert "two years" in seen


async def test_what_was_worked_out_answers_where_no_passage_does(
    runtime: Runtime, model: Model, me: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keepstone.agents.answering.ABSTAIN_BELOW", 2.0)
    runtime.answerer._settings = runtime.settings.answering.model_copy(update={"abstain_below": None})
    model.decisions = [calls(("calculator", {"expression": "17 * 23"}), ("calculator", {"expression": "5 + 6"}))]
    events = await run(make_runs(runtime), me, "What is 17 times 23?")
    answer = of_kind(events, Finished)[0].answer
    assert answer.content == "17 * 23 = 391"  # and not what has nothing to do with the question
    assert answer.outcome == "answered"
    assert (await run(make_runs(runtime), me, "What is the moon made of?"))[-1].outcome == "declined"  # type: ignore[union-attr]


async def test_a_wrong_argument_comes_back_as_an_observation(runtime: Runtime, model: Model, me: Principal) -> None:
    model.decisions = [calls(("read", {"document": "waranty.md"})), calls(("search", {"query": "x", "k": 99}))]
    observed = of_kind(await run(make_runs(runtime), me), Observed)
    assert observed[1].error
    assert "Did you mean 'warranty.md'?" in observed[1].text
    assert observed[2].text.startswith("Wrong arguments for search: k")
    assert "Did you mean" in model.asked[1].messages[-1].content


async def test_a_model_that_repeats_itself_goes_on_to_answer(runtime: Runtime, model: Model, me: Principal) -> None:
    """The second time it is told that it has this already; the third time it has to answer."""
    model.decisions = [calls(("search", {"query": "monitor"}))] * 10
    runs = make_runs(runtime, budget=Budget(steps=10))
    events = await run(runs, me)
    observed = of_kind(events, Observed)
    assert len(observed) == 3
    assert "You have this already" in observed[2].text
    assert len(model.asked) == 3
    details = runs.get(me, events[0].run_id)  # type: ignore[union-attr]
    assert details.ended == "loop"
    assert details.run.outcome == "answered"


@pytest.mark.parametrize(
    ("budget", "ended", "decisions"),
    [(Budget(steps=2), "steps", 2), (Budget(tokens=1), "tokens", 1), (Budget(seconds=0.0), "seconds", 0)],
)
async def test_budgets_end_in_an_answer(
    runtime: Runtime, model: Model, me: Principal, budget: Budget, ended: str, decisions: int
) -> None:
    model.decisions = [calls(("search", {"query": f"monitor {number}"})) for number in range(20)]
    runs = make_runs(runtime, budget=budget)
    events = await run(runs, me)
    details = runs.get(me, events[0].run_id)  # type: ignore[union-attr]
    assert details.ended == ended
    assert len(model.asked) == decisions
    assert details.answer is not None
    assert details.answer.startswith("The warranty lasts two years.")


async def test_a_model_that_takes_for_ever_is_not_waited_for(
    runtime: Runtime, model: Model, me: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is then made from what the first search found."""
    chat = model.chat

    async def hang(request: ChatRequest) -> Reply:
        if request.json_schema is not None:
            await asyncio.sleep(60)
        return await chat(request)

    monkeypatch.setattr(model, "chat", hang)
    runs = make_runs(runtime, budget=Budget(seconds=1.0))
    details = runs.get(me, (await run(runs, me))[0].run_id)  # type: ignore[union-attr]
    assert details.ended == "seconds"
    assert details.answer == ANSWER


async def test_what_cannot_be_read_is_told_once_and_then_answered(
    runtime: Runtime, model: Model, me: Principal
) -> None:
    model.decisions = ["nonsense", '{"thought": "cut', "never asked"]
    runs = make_runs(runtime)
    events = await run(runs, me)
    assert runs.get(me, events[0].run_id).ended == "unreadable"  # type: ignore[union-attr]
    assert "no complete JSON" in model.asked[1].messages[-1].content
    assert len(model.asked) == 2


async def test_a_tool_that_hangs_or_raises_does_not_end_the_run(runtime: Runtime, model: Model, me: Principal) -> None:
    async def hang(_context: ToolContext) -> Observation:
        """Hang."""
        await asyncio.sleep(60)
        return Observation("")

    def explode(_context: ToolContext) -> Observation:
        """Explode."""
        raise RuntimeError("boom")

    model.decisions = [calls(("hang", {}), ("explode", {}), ("nothing", {})), calls(("hang", {}), ("explode", {}))]
    events = await run(make_runs(runtime, tool(hang, timeout_s=0.05), tool(explode)), me)
    texts = [each.text for each in of_kind(events, Observed)]
    assert "hang took longer than 0.05 seconds and was stopped" in texts
    assert "explode failed (RuntimeError)" in texts
    assert events[-1].outcome == "answered"  # type: ignore[union-attr]


async def test_a_kill_at_any_step_loses_nothing(runtime: Runtime, model: Model, me: Principal) -> None:
    """The next process goes on from the last step that was done, and does none of them again."""
    model.decisions = [calls(("search", {"query": f"monitor {number}"})) for number in range(3)]
    before = make_runs(runtime)
    run_id = await before.start(me, QUESTION, collections=["shop"])
    seen: list[RunEvent] = []
    async with aclosing(before.stream(me, run_id)) as events:
        async for event in events:
            seen.append(event)
            if len(of_kind(seen, Observed)) == 2:
                break
    await before.close()
    assert runtime.agent.get(me, run_id).run.state == "running"
    asked = len(model.asked)
    after = make_runs(runtime)
    assert await after.resume() == [run_id]
    told = [event async for event in after.stream(me, run_id)]
    assert told[-1].outcome == "answered"  # type: ignore[union-attr]
    assert told[0] == RunStarted(run_id)
    assert told[: len(seen) - 1] == seen[:-1]
    queries = [each.arguments["query"] for each in of_kind(told, Called)]
    assert queries == [QUESTION, "monitor 0", "monitor 1", "monitor 2"]
    assert len(model.asked) - asked <= 4
    assert after.get(me, run_id).run.state == "finished"
    with runtime.database.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(AnswerRow)) == 1


async def test_a_kill_while_answering_leaves_one_answer(runtime: Runtime, model: Model, me: Principal) -> None:
    """What was written by then is replaced by the whole of it, under the id that the run knew beforehand."""
    before = make_runs(runtime)
    run_id = await before.start(me, QUESTION, collections=["shop"])
    async with aclosing(before.stream(me, run_id)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
    await before.close()
    after = make_runs(runtime)
    await after.resume()
    told = [event async for event in after.stream(me, run_id)]
    assert of_kind(told, RunFinished)[0].answer.content == ANSWER
    with runtime.database.reading() as session:
        assert [row.content for row in session.scalars(sa.select(AnswerRow))] == [ANSWER]


async def test_a_kill_right_after_the_answer_writes_no_second_one(
    runtime: Runtime, model: Model, me: Principal
) -> None:
    runs = make_runs(runtime)
    run_id = (await run(runs, me))[0].run_id  # type: ignore[union-attr]
    with runtime.database.transaction() as session:
        session.execute(sa.update(AgentRunRow).values(state="running", outcome=None))
    asked = len(model.history)
    after = make_runs(runtime)
    await after.resume()
    assert [event async for event in after.stream(me, run_id)][-1].outcome == "answered"  # type: ignore[union-attr]
    assert len(model.history) == asked
    assert after.get(me, run_id).run.state == "finished"


async def test_a_run_that_goes_on_waits_for_the_engine(runtime: Runtime, model: Model, me: Principal) -> None:
    """It starts later than the app."""
    before = make_runs(runtime)
    run_id = await before.start(me, QUESTION, collections=["shop"])
    await before.close()
    model.available = False
    after = make_runs(runtime, wait_s=0.05)
    await after.resume()
    last = [event async for event in after.stream(me, run_id)][-1]
    assert isinstance(last, RunFinished)
    assert last.outcome == "failed"
    assert "The engine did not start" in (last.error or "")


async def test_whoever_was_locked_out_meanwhile_gets_no_answer(runtime: Runtime, model: Model) -> None:
    ann = someone(runtime, "ann")
    runtime.library.grant(admin(runtime), "shop", "ann", "reader")
    before = make_runs(runtime)
    run_id = await before.start(ann, QUESTION)
    await before.close()
    with runtime.database.transaction() as session:
        session.execute(sa.text("UPDATE principals SET disabled = TRUE WHERE name = 'ann'"))
    after = make_runs(runtime)
    await after.resume()
    assert [event async for event in after.stream(ann, run_id)][-1].outcome == "failed"  # type: ignore[union-attr]
    assert not model.history or not [each for each in model.history if each.json_schema is None]


async def test_cancelling_stops_it_and_is_stored(runtime: Runtime, model: Model, me: Principal) -> None:
    async def hang(_context: ToolContext) -> Observation:
        """Hang."""
        await asyncio.sleep(60)
        return Observation("")

    model.decisions = [calls(("hang", {}))]
    runs = make_runs(runtime, tool(hang, timeout_s=50))
    run_id = await runs.start(me, QUESTION, collections=["shop"])
    async for event in runs.stream(me, run_id):
        if isinstance(event, Called) and event.tool == "hang":
            ended = await runs.cancel(me, run_id)
            assert ended.state == "cancelled"
    assert [event async for event in runs.stream(me, run_id)][-1].outcome == "cancelled"  # type: ignore[union-attr]
    assert await make_runs(runtime).resume() == []
    assert (await runs.cancel(me, run_id)).state == "cancelled"


async def test_closing_the_stream_of_run_cancels_it(runtime: Runtime, model: Model, me: Principal) -> None:
    runs = make_runs(runtime)
    events = runs.run(me, QUESTION, collections=["shop"])
    run_id = (await anext(events)).run_id  # type: ignore[union-attr]
    await events.aclose()
    assert (await runs.cancel(me, run_id)).state == "cancelled"


async def test_everybody_who_watches_sees_all_of_it(runtime: Runtime, model: Model, me: Principal) -> None:
    runs = make_runs(runtime)
    run_id = await runs.start(me, QUESTION, collections=["shop"])

    async def watch() -> list[RunEvent]:
        return [event async for event in runs.stream(me, run_id)]

    first, second = await asyncio.gather(watch(), watch())
    assert first == second
    late = await watch()  # when it is over, the steps and the end are told
    assert [each for each in first if isinstance(each, Thought | Called | Observed)] == late[1:-1]
    assert late[-1].outcome == "answered"  # type: ignore[union-attr]


async def test_a_run_is_its_owners_alone(runtime: Runtime, model: Model, me: Principal) -> None:
    """Not even an administrator reads another's runs."""
    ann = someone(runtime, "ann")
    runtime.library.grant(me, "shop", "ann", "reader")
    runs = make_runs(runtime)
    run_id = (await run(runs, ann))[0].run_id  # type: ignore[union-attr]
    assert runs.recent(me) == []
    assert [each.id for each in runs.recent(ann)] == [run_id]
    with pytest.raises(NotFound):
        runs.get(me, run_id)
    with pytest.raises(NotFound):
        await runs.cancel(me, run_id)
    with pytest.raises(NotFound):
        [event async for event in runs.stream(me, run_id)]


async def test_deleting_takes_the_answer_along(runtime: Runtime, model: Model, me: Principal) -> None:
    runs = make_runs(runtime)
    run_id = (await run(runs, me))[0].run_id  # type: ignore[union-attr]
    await runs.delete(me, run_id)
    with runtime.database.reading() as session:
        for table in (AgentRunRow, AgentCheckpointRow, AnswerRow):
            assert session.scalar(sa.select(sa.func.count()).select_from(table)) == 0


async def test_documents_deleted_meanwhile_are_not_answered_from(runtime: Runtime, model: Model, me: Principal) -> None:
    """What a tool found is looked up again when the answer is made."""
    warranty = next(each for each in runtime.library.documents(me, "shop") if each.name == "warranty.md")

    def forget(context: ToolContext) -> Observation:
        """Delete the document."""
        runtime.library.delete_document(me, warranty.id)
        return Observation("done")

    model.decisions = [calls(("forget", {}))]
    events = await run(make_runs(runtime, tool(forget)), me)
    answer = of_kind(events, Finished)[0].answer
    assert "warranty.md" not in {passage.hit.document_name for passage in answer.passages}


async def test_what_cannot_begin_says_so(runtime: Runtime, model: Model, me: Principal) -> None:
    runs = make_runs(runtime)
    with pytest.raises(InvalidInput, match="empty"):
        await runs.start(me, " \0 ")
    with pytest.raises(NotFound):
        await runs.start(me, QUESTION, collections=["shopp"])
    with pytest.raises(InvalidInput, match="long"):
        await runs.start(me, "x" * 10_001)
    model.ponders = True
    started = [await runs.start(me, QUESTION, collections=["shop"]) for _ in range(8)]
    with pytest.raises(LimitExceeded):
        await runs.start(me, QUESTION, collections=["shop"])
    for run_id in started:
        await runs.cancel(me, run_id)


async def test_an_engine_that_is_down_fails_the_run_with_its_fix(runtime: Runtime, model: Model, me: Principal) -> None:
    model.available = False
    last = (await run(make_runs(runtime), me))[-1]
    assert isinstance(last, RunFinished)
    assert last.outcome == "failed"
    assert "keepstone status" in (last.error or "")
    assert EngineUnavailable.code  # the reason is worded, not its type


async def test_those_who_watch_are_told_also_when_the_disk_is_full(
    runtime: Runtime, model: Model, me: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for an end that could not be stored; the next start stores it."""

    def full(*_: object, **__: object) -> None:
        raise StorageFull("No space left on the disk")

    with monkeypatch.context() as patch:
        patch.setattr(RunRecords, "end", full)
        events = await run(make_runs(runtime), me)
    assert events[-1].outcome == "answered"  # type: ignore[union-attr]
    after = make_runs(runtime)
    [run_id] = await after.resume()
    assert [event async for event in after.stream(me, run_id)][-1].outcome == "answered"  # type: ignore[union-attr]
    assert after.get(me, run_id).run.state == "finished"


async def test_a_step_that_cannot_be_kept_ends_the_run_with_the_fix(
    runtime: Runtime, model: Model, me: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageFull("No space left on the disk", fix="Free some space")

    monkeypatch.setattr("keepstone.agents.react.checkpoints.DatabaseSaver.put", full)
    last = (await run(make_runs(runtime), me))[-1]
    assert isinstance(last, RunFinished)
    assert last.outcome == "failed"
    assert "Free some space" in (last.error or "")


async def test_a_model_of_little_context_still_answers(runtime: Runtime, model: Model, me: Principal) -> None:
    """The oldest observations make room for the newer ones."""
    model._max_model_len = 1100
    long = "word " * 300

    def talk(_context: ToolContext, number: int) -> Observation:
        """Talk."""
        return Observation(f"{number} {long}")

    model.decisions = [calls(("talk", {"number": number})) for number in range(4)]
    events = await run(make_runs(runtime, tool(talk)), me)
    assert events[-1].outcome == "answered"  # type: ignore[union-attr]
    assert READY

"""What a model writes reaches the reader only when it says something; a refusal is told in Keepstone's own words."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.agents.types import Answer, Finished, TextDelta, Trial
from keepstone.platform.database.tables import AnswerRow
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.runtime import Runtime
from tests.stack import NEVER_DECLINES, admin, ingest, open_stack

FILES = {"w.md": b"# Warranty\n\nThe warranty of the pump lasts two years from the day of purchase.\n"}


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory, engine: ScriptedEngine) -> Iterator[Runtime]:
    home: Path = tmp_path_factory.mktemp("home")
    with open_stack(home, engine=engine, answering=NEVER_DECLINES) as runtime:
        ingest(runtime, admin(runtime), "manual", FILES)
        yield runtime


async def ask(runtime: Runtime) -> tuple[str, Answer]:
    shown = ""
    question = "How long does the warranty of the pump last?"
    async for event in runtime.answerer.answer(admin(runtime), question, collections=["manual"]):
        if isinstance(event, TextDelta):
            shown += event.text
        if isinstance(event, Finished):
            return shown, event.answer
    raise AssertionError("no answer")


@pytest.mark.parametrize("reply", ["NONE", "NONE.", " NONE\n"])
async def test_a_refusal_is_an_answer_declined(runtime: Runtime, engine: ScriptedEngine, reply: str) -> None:
    engine.enqueue(reply)
    shown, answer = await ask(runtime)
    assert answer.outcome == "declined"
    assert shown == answer.content == "I could not find this in the documents."


@pytest.mark.parametrize("reply", ["", "\n\n", "[1]"])
async def test_a_model_that_writes_nothing_quotes_instead(runtime: Runtime, engine: ScriptedEngine, reply: str) -> None:
    engine.enqueue(reply, "1")
    shown, answer = await ask(runtime)
    assert answer.outcome == "answered"
    assert "two years" in shown
    assert shown == answer.content


@pytest.mark.parametrize(
    "reply", ["NONEXISTENT pumps have no warranty of years.", "No, the warranty lasts two years. [1]"]
)
async def test_words_that_begin_like_a_refusal_are_none(runtime: Runtime, engine: ScriptedEngine, reply: str) -> None:
    engine.enqueue(reply)
    shown, answer = await ask(runtime)
    assert answer.outcome == "answered"
    assert shown.startswith(reply.split(maxsplit=1)[0])


async def test_a_trial_leaves_documents_out_and_nothing_behind(runtime: Runtime, engine: ScriptedEngine) -> None:
    """A question that is put to judge a model is nobody's history."""
    me = admin(runtime)
    [document] = runtime.library.documents(me, "manual")
    engine.enqueue("Two years [1].")
    answers = []
    for without in ((), (document.id,)):
        events = runtime.answerer.answer(me, "How long is the warranty?", collections=["manual"], trial=Trial(without))
        answers += [event.answer async for event in events if isinstance(event, Finished)]
    assert [answer.outcome for answer in answers] == ["answered", "declined"]
    assert [len(answer.passages) for answer in answers] == [1, 0]
    with runtime.database.reading() as session:
        assert not any(session.get(AnswerRow, answer.id) for answer in answers)

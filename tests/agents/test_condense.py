"""A follow-up must search for what was meant, and a model that invents words must not mislead the search."""

import pytest

from keepstone.agents.condense import condense
from keepstone.platform.serving.engine import Message
from keepstone.platform.serving.scripted import ScriptedEngine

HISTORY = (
    Message("user", "How long is the warranty of the Corvan 220?"),
    Message("assistant", "It is three years. [1]"),
)


async def test_a_first_question_is_left_alone() -> None:
    engine = ScriptedEngine()
    assert await condense(engine, "How long?", (), rewrite=True) == "How long?"
    assert engine.history == []


async def test_a_faithful_rewriting_is_taken() -> None:
    engine = ScriptedEngine(["How long is the warranty of the Corvan 220 in China?"])
    rewritten = await condense(engine, "And in China?", HISTORY, rewrite=True)
    assert rewritten == "How long is the warranty of the Corvan 220 in China?"


async def test_an_unfaithful_rewriting_is_replaced_by_the_question_before() -> None:
    engine = ScriptedEngine(["Elephants usually enjoy bananas in July."])
    rewritten = await condense(engine, "And in China?", HISTORY, rewrite=True)
    assert rewritten == "How long is the warranty of the Corvan 220? And in China?"


async def test_small_models_are_not_asked() -> None:
    engine = ScriptedEngine()
    rewritten = await condense(engine, "And in China?", HISTORY, rewrite=False)
    assert rewritten.endswith("And in China?")
    assert engine.history == []


@pytest.mark.parametrize(
    "question", ["And in China?", "How much does it cost?", "Why?", "What about this one?", "那保修呢？"]
)
async def test_a_question_that_leans_on_the_one_before_takes_it_along(question: str) -> None:
    assert await condense(ScriptedEngine(), question, HISTORY, rewrite=False) != question


@pytest.mark.parametrize(
    "question",
    ["Our Corvan 220 says E14. What should we do?", "When is this year's summer party?", "宿舍一个月要交多少房租？"],
)
async def test_a_question_of_its_own_is_left_alone(question: str) -> None:
    assert await condense(ScriptedEngine(), question, HISTORY, rewrite=False) == question


async def test_of_turns_before_that_have_no_end_the_beginning_counts() -> None:
    """The app's clients send them, up to the size of a body."""
    endless = [Message("user", "How long is the warranty? " + "x " * 500_000)]
    standalone = await condense(ScriptedEngine(), "And in China?", endless, rewrite=False)
    assert standalone.startswith("How long is the warranty?")
    assert len(standalone) < 11_000

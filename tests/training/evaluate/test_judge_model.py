"""A language model is judged by its answers through the whole pipeline, of which nothing stays behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from keepstone.agents.types import AnsweringModel
from keepstone.platform.database.tables import AnswerRow
from keepstone.platform.errors import EngineUnavailable
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.engine import ChatRequest
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.training.evaluate import judge as judging
from keepstone.training.evaluate.judge import Contender
from tests.training.evaluate.conftest import Court, candidate
from tests.training.tiny_models import tiny_llm


def ignore(_done: int, _total: int) -> None:
    """Report to nobody."""


def knowing(court: Court) -> Callable[[ChatRequest], str]:
    """Return what answers each held-out question in the words of its passage, or not at all where that is missing."""
    answers = {row.question: " ".join(row.answer.split()) for row in court.dataset.retrieval("test")}

    def reply(request: ChatRequest) -> str:
        shown = " ".join(request.messages[-1].content.split())
        known = next((answer for question, answer in answers.items() if question in shown and answer in shown), None)
        if "<passage" not in shown:
            return "I cannot tell without the documents."
        return f"{known} [1]" if known else "NONE"

    return reply


def contender(name: str, reply: str | Callable[[ChatRequest], str]) -> Contender:
    return Contender(ScriptedEngine(default=reply, model=name), AnsweringModel(name, "1", "write"))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> InstalledModel:
    return replace(candidate("tuned", "adapter", "sft"), path=tiny_llm(tmp_path_factory.mktemp("tuned")))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "MOST_ANSWERS", 32)


async def test_a_model_that_answers_better_is_promoted(court: Court, adapter: InstalledModel) -> None:
    verdict = await court.judge.judge_model(
        court.me,
        court.dataset,
        adapter,
        live=contender("base", "NONE at all."),
        challenger=contender("tuned", knowing(court)),
        key="good adapter",
        report=ignore,
    )
    figures = {figure.name: figure.effect for figure in verdict.figures}
    assert verdict.outcome == "promote"
    assert (verdict.case.subject, verdict.case.goal, verdict.case.live) == ("llm", "answers", "base@1")
    assert figures["f1"].live < 0.1
    assert figures["f1"].candidate > 0.7
    assert figures["citation_recall"].candidate > 0.5
    assert figures["abstention"].candidate > figures["abstention"].live
    assert figures["tokens_per_second"].live > 0


async def test_a_damaged_model_is_refused(court: Court, adapter: InstalledModel) -> None:
    verdict = await court.judge.judge_model(
        court.me,
        court.dataset,
        adapter,
        live=contender("base", knowing(court)),
        challenger=contender("tuned", "the the the the the"),
        key="damaged adapter",
        report=ignore,
    )
    assert verdict.outcome == "refuse"
    assert "worse at what it was made for" in verdict.reasons[0]


async def test_a_model_is_not_better_than_itself(court: Court, adapter: InstalledModel) -> None:
    same = contender("base", knowing(court))
    verdict = await court.judge.judge_model(
        court.me, court.dataset, adapter, live=same, challenger=same, key="the same", report=ignore
    )
    assert verdict.outcome == "refuse"
    assert all(figure.effect.value == 0 for figure in verdict.figures if figure.name != "tokens_per_second")


async def test_a_quantized_model_that_is_no_faster_is_refused(court: Court, adapter: InstalledModel) -> None:
    quantized = replace(adapter, kind="llm", details={"training": {"recipe": "quantize"}})
    same = contender("base", knowing(court))
    verdict = await court.judge.judge_model(
        court.me, court.dataset, quantized, live=same, challenger=same, key="slow", report=ignore
    )
    assert verdict.case.goal == "speed"
    assert verdict.outcome == "refuse"
    assert "not 1.3 times as fast" in verdict.reasons[0]


async def test_an_engine_that_dies_costs_one_batch(court: Court, adapter: InstalledModel) -> None:
    """And nobody's history has any of it."""
    live, challenger = contender("base", "NONE at all."), contender("tuned", knowing(court))
    engine = challenger.engine
    assert isinstance(engine, ScriptedEngine)

    def switch_off(done: int, _total: int) -> None:
        engine.available = done < 16

    with pytest.raises(EngineUnavailable):
        await court.judge.judge_model(
            court.me, court.dataset, adapter, live=live, challenger=challenger, key="dies", report=switch_off
        )
    engine.available = True
    engine.history.clear()
    verdict = await court.judge.judge_model(
        court.me, court.dataset, adapter, live=live, challenger=challenger, key="dies", report=ignore
    )
    assert verdict.outcome == "promote"
    asked = {request.messages[-1].content.rpartition("Question: ")[2] for request in engine.history}
    assert len(asked) == 16
    with court.runtime.database.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(AnswerRow)) == 0

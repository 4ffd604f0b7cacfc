"""Ordering a judging: what is refused at once, and the job that ends in a verdict."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keepstone.agents.types import AnsweringModel
from keepstone.platform.database.tables import JobState, new_id
from keepstone.platform.errors import Conflict, Forbidden, InvalidInput, ModelMissing, NotFound
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.platform.models.catalog import Kind
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.engine import Engine
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.training.evaluate import Evaluation, Evaluations
from keepstone.training.evaluate import judge as judging
from tests.stack import WAIT_S, someone
from tests.training.evaluate.conftest import COLLECTION, Court
from tests.training.tiny_models import tiny_llm


def install(court: Court, folder: Path, name: str, kind: Kind = "encoder", recipe: str = "embedding") -> InstalledModel:
    """Enter a model into the registry."""
    if not folder.exists():
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    return court.runtime.registry.add(
        name=name, kind=kind, version="1", path=folder, source="test", details={"training": {"recipe": recipe}}
    )


def test_an_ordered_judging_builds_the_index_and_ends_in_a_verdict(court: Court, tmp_path: Path) -> None:
    install(court, tmp_path / "sharp", "sharp")
    order = Evaluation(candidate="sharp", dataset=COLLECTION)
    plan = court.runtime.evaluations.preview(court.me, order)
    assert (plan.candidate, plan.live, plan.goal, plan.warnings) == ("sharp@1", "usual@1", "search", ())
    assert plan.questions >= 20
    assert plan.documents >= 6
    job = court.runtime.jobs.wait(court.runtime.evaluations.submit(court.me, order), WAIT_S)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert job.done == job.total == plan.questions
    verdict = court.runtime.verdicts.get(court.me, job.id)
    assert verdict.outcome == "promote"
    assert verdict.figures[0].effect.questions == plan.questions


def test_what_cannot_be_judged_is_refused_at_once(court: Court, tmp_path: Path) -> None:
    install(court, tmp_path / "usual", "usual")
    install(court, tmp_path / "cross", "cross", "reranker", "reranker")

    def preview(candidate: str, dataset: str = COLLECTION) -> None:
        court.runtime.evaluations.preview(court.me, Evaluation(candidate=candidate, dataset=dataset))

    with pytest.raises(Conflict, match="is the model in use"):
        preview("usual")
    with pytest.raises(InvalidInput, match="nothing uses yet"):
        preview("cross")
    with pytest.raises(ModelMissing):
        preview("unheard-of")
    with pytest.raises(NotFound):
        preview("cross", "no such dataset")


def test_only_administrators_order_judgings(court: Court) -> None:
    order = Evaluation(candidate="usual", dataset=COLLECTION)
    with pytest.raises(Forbidden):
        court.runtime.evaluations.submit(someone(court.runtime, "reader"), order)


def test_a_language_model_is_served_while_it_is_judged(
    court: Court, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a change of the one in use ends the judging, whose figures would mix two."""
    monkeypatch.setattr(judging, "MOST_ANSWERS", 24)
    install(court, tiny_llm(tmp_path / "tuned"), "tuned", "llm", "sft")
    served: list[str] = []
    in_use = AnsweringModel("base", "1", "write")

    @asynccontextmanager
    async def serve(reference: str) -> AsyncIterator[Engine]:
        served.append(reference)
        try:
            yield ScriptedEngine(default="no idea whatever")
        finally:
            served.append("ended")

    def evaluations() -> Evaluations:
        return Evaluations(
            database=court.runtime.database,
            jobs=Jobs(court.runtime.database, "sqlite://"),
            registry=court.runtime.registry,
            datasets=court.runtime.datasets,
            judge=court.judge,
            build_index=court.runtime.reindexing.build,
            connect=lambda: ScriptedEngine(default="no idea whatever"),
            model=lambda: in_use,
            serve=serve,
        )

    order = {"candidate": "tuned@1", "dataset": court.dataset.id}
    job = JobInfo(new_id("job"), "judge", {"order": order, "scopes": sorted(court.me.scopes)}, principal_id=court.me.id)
    handler = evaluations()
    [unit] = handler.plan(job)
    handler.run(job, unit)
    handler.finish(job, None)
    assert court.verdicts.get(court.me, job.id).outcome == "refuse"
    assert served == ["tuned@1", "ended"]

    def switch(done: int, total: int) -> None:
        nonlocal in_use
        in_use = AnsweringModel("other", "1", "write")

    job = JobInfo(new_id("job"), "judge", job.args, principal_id=court.me.id, report=switch)
    with pytest.raises(Conflict, match="came into use"):
        evaluations().run(job, unit)
    assert served[2:] == ["tuned@1", "ended"]
    assert court.verdicts.of(job.id) is None

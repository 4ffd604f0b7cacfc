"""A sweep recommends only what is better, beyond chance, on documents that had no part in choosing it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keepstone.platform.access import Scope
from keepstone.platform.database.tables import JobState
from keepstone.platform.errors import Cancelled, InvalidInput, NotFound
from keepstone.platform.jobs import JobInfo
from keepstone.platform.settings import ChunkingSettings
from keepstone.retrieval.chunking import CHUNKERS
from keepstone.training.relevance import Judgement
from keepstone.training.relevance.choosing import DEPTHS, TuningReport, chosen, halves
from keepstone.training.relevance.evaluation import Asked
from keepstone.training.relevance.measure import Scores
from keepstone.training.relevance.questions import Item, Question
from keepstone.training.relevance.ways import Way, cuts, ways
from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, admin, ingest, open_stack, someone
from tests.training.data.handbooks import handbooks

_CURRENT = Way(0.5, 100, "off", "structure", 200)
_OTHER = replace(_CURRENT, dense_weight=0.0)
_QUESTIONS = [Question(f"{number}?", (Item(f"doc{number % 20}"),)) for number in range(80)]


def scores(mean: float, seed: int = 0) -> list[Scores]:
    """Return what each ranking is worth under a way that is worth so much on average."""
    noise = np.random.default_rng(seed).normal(0, 0.05, len(_QUESTIONS))
    return [
        {"ndcg@10": each} | {f"recall@{depth}": each for depth in DEPTHS}
        for each in np.clip(mean + noise, 0, 1).tolist()
    ]


def choose(tried: dict[Way, list[Scores]]) -> TuningReport:
    """Return what comes of the questions above."""
    return chosen(Asked("col", "docs", Scope(("col",)), _CURRENT, tuple(_QUESTIONS), "judged", {}), 10, tried)


def test_a_better_way_is_recommended() -> None:
    report = choose({_CURRENT: scores(0.5), _OTHER: scores(0.6, 1)})
    assert (report.best, report.advice) == (_OTHER, "change")
    assert report.effect.low is not None
    assert 0 < report.effect.low <= report.effect.value
    assert [each.way for each in report.tried] == [_OTHER, _CURRENT]


def test_the_best_of_many_equals_is_not_better() -> None:
    """Among ten ways that differ by chance alone one wins the first half; the other half does not care."""
    tried = {replace(_CURRENT, dense_weight=number / 10): scores(0.5, number) for number in range(10)}
    assert choose({_CURRENT: scores(0.5, 99)} | tried).advice == "keep"


def test_the_way_in_use_stays_among_equals() -> None:
    report = choose({_CURRENT: scores(0.5), _OTHER: scores(0.5)})
    assert (report.best, report.advice) == (_CURRENT, "keep")


def test_questions_about_one_document_stand_on_one_side() -> None:
    choosing = halves(_QUESTIONS)
    sides = {question.document: chooses for question, chooses in zip(_QUESTIONS, choosing, strict=True)}
    assert [sides[each.document] for each in _QUESTIONS] == choosing
    assert sum(sides.values()) == 10
    assert halves(_QUESTIONS[::-1]) == choosing[::-1]


def test_all_ways_are_different_and_the_current_one_is_first() -> None:
    tried = ways(_CURRENT, ["late"])
    assert tried[0] == _CURRENT
    assert len(set(tried)) == len(tried) <= 20
    assert {each.reranker for each in tried} == {"off", "late"}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_stack(Path(tmp_path_factory.mktemp("home"))) as opened:
        ingest(opened, admin(opened), "handbooks", handbooks(10))
        opened.judgements.put(
            admin(opened),
            "handbooks",
            [
                Judgement.model_validate({"question": f"What does {each.name} say?", "relevant": [each.name]})
                for each in opened.library.documents(admin(opened), "handbooks")
            ],
        )
        yield opened


def test_the_job_tries_all_ways_and_cuts_and_reports(runtime: Runtime) -> None:
    me = admin(runtime)
    before = runtime.library.collection(me, "handbooks")
    job_id = runtime.tuning.submit(me, "handbooks", k=5)
    job = runtime.jobs.wait(job_id, 3 * WAIT_S)
    assert job.state == JobState.SUCCEEDED, job.error
    report = runtime.tuning.report(me, job_id)
    assert (report.questions, report.source, report.effect.questions) == (10, "judged", 5)
    tried = {each.way for each in report.tried}
    assert tried >= set(ways(report.current, ["late"]))
    assert {each.chunker for each in tried} == set(CHUNKERS)
    assert {each.max_tokens for each in tried} >= {100, 200}
    assert [each.k for each in report.recalls] == list(DEPTHS)
    folder = runtime.settings.home / "tunings"
    assert [path.name for path in folder.iterdir()] == [f"{job_id}.json"], "neither measurements nor copies are kept"
    assert runtime.library.collections(me)[0] == before, "what is searched was left alone"
    assert json.loads((folder / f"{job_id}.json").read_bytes())["k"] == 5
    with pytest.raises(NotFound):
        runtime.tuning.report(someone(runtime, "stranger"), job_id)
    with pytest.raises(NotFound):
        runtime.tuning.report(me, "job_0")


def order(runtime: Runtime, check: Callable[[], None], collection: str = "handbooks") -> JobInfo:
    """Return an order for the handler itself."""
    me = admin(runtime)
    args = {"k": 5, "judgements": None, "questions": "auto", "recut": True, "adopt": False}
    return JobInfo(
        id="job_x",
        kind="tune",
        args=args | {"scopes": sorted(me.scopes)},
        principal_id=me.id,
        collection_id=runtime.library.collection(me, collection).id,
        check=check,
    )


def test_a_step_that_is_done_again_measures_nothing_anew(runtime: Runtime) -> None:
    """After a kill the last step runs once more."""
    asked: list[str] = []
    job = order(runtime, lambda: asked.append("a question"))
    units = runtime.tuning.plan(job)[:1]
    runtime.tuning.run(job, units[0])
    runtime.tuning.run(job, units[0])
    assert len(asked) == 10
    runtime.tuning.finish(job, "stopped")
    runtime.tuning.finish(job, "stopped")
    assert not (runtime.settings.home / "tunings" / "job_x.json").exists()


def test_a_copy_that_was_begun_is_gone_when_the_job_is_stopped(runtime: Runtime) -> None:
    job = order(runtime, lambda: None)
    units = runtime.tuning.plan(job)
    for unit in units:
        if unit[0] == "search":
            runtime.tuning.run(job, unit)
    calls = iter(range(10**6))

    def stop() -> None:
        if next(calls) == 5:
            raise Cancelled("Stopped")

    copies = runtime.settings.home / "tunings" / "job_x.copies"
    with pytest.raises(Cancelled):
        runtime.tuning.run(replace(job, check=stop), units[-1])
    assert copies.is_dir()
    runtime.tuning.finish(job, "stopped")
    assert not copies.exists()


def test_passages_of_other_sizes_are_compared_by_whole_documents_only() -> None:
    """A larger passage touches what was marked as relevant more easily."""
    sized = {each.max_tokens for each in cuts(_CURRENT, ChunkingSettings(), longest=256)}
    assert sized == {100, 200, 256}
    assert {each.max_tokens for each in cuts(_CURRENT, ChunkingSettings(), longest=None)} == {200}


def test_too_few_documents_are_refused_with_a_fix(runtime: Runtime) -> None:
    me = admin(runtime)
    ingest(runtime, me, "small", {"a.md": b"Something."})
    runtime.judgements.put(me, "small", [Judgement.model_validate({"question": "What?", "relevant": ["a.md"]})])
    with pytest.raises(InvalidInput) as refused:
        runtime.tuning.submit(me, "small")
    assert refused.value.fix

"""An evaluation is a job: it goes on after a kill where it was, and only who owns the collection sees the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.platform.database.tables import JobState
from keepstone.platform.errors import Cancelled, InvalidInput, NotFound
from keepstone.platform.jobs import JobInfo
from keepstone.training.relevance import Judgement
from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, admin, ingest, open_stack, someone
from tests.training.data.handbooks import handbooks


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_stack(Path(tmp_path_factory.mktemp("home"))) as opened:
        me = admin(opened)
        ingest(opened, me, "handbooks", handbooks(10))
        names = [each.name for each in opened.library.documents(me, "handbooks")]
        asked = [{"question": f"What does {name} say of {n}?", "relevant": [name]} for name in names for n in range(4)]
        opened.judgements.put(me, "handbooks", [Judgement.model_validate(each) for each in asked])
        yield opened


def job(runtime: Runtime, **more: object) -> JobInfo:
    """Return an order for the handler itself."""
    me = admin(runtime)
    return JobInfo(
        id="job_x",
        kind="evaluate",
        args={"k": 5, "judgements": None, "questions": "auto", "scopes": sorted(me.scopes)},
        principal_id=me.id,
        collection_id=runtime.library.collection(me, "handbooks").id,
        **more,  # type: ignore[arg-type]
    )


def test_the_job_comes_to_what_the_library_call_comes_to(runtime: Runtime) -> None:
    me = admin(runtime)
    job_id = runtime.measuring.submit(me, "handbooks", k=5)
    ended = runtime.jobs.wait(job_id, WAIT_S)
    assert (ended.state, ended.done, ended.total) == (JobState.SUCCEEDED, 8, 8), ended.error
    assert runtime.measuring.report(me, job_id) == runtime.evaluator.evaluate(me, "handbooks", k=5)
    with pytest.raises(NotFound):
        runtime.measuring.report(someone(runtime, "stranger"), job_id)
    with pytest.raises(NotFound):
        runtime.measuring.report(me, "job_0")


def test_a_step_that_is_done_again_asks_nothing_anew(runtime: Runtime) -> None:
    """After a kill the last step runs once more, also the last of all."""
    asked: list[str] = []
    order = job(runtime, check=lambda: asked.append("a question"))
    for unit in [each for each in runtime.measuring.plan(order) for _ in range(2)]:
        runtime.measuring.run(order, unit)
    assert len(asked) == 40
    for _ in range(2):
        runtime.measuring.finish(order, None)
    assert [each.name for each in (runtime.settings.home / "evaluations").iterdir() if "job_x" in each.name] == [
        "job_x.json"
    ], "what was measured is not kept"


def test_a_job_that_is_stopped_ends_at_the_next_question_and_leaves_nothing(runtime: Runtime) -> None:
    def stop() -> None:
        raise Cancelled("Stopped")

    order = job(runtime, check=stop)
    first, *_ = runtime.measuring.plan(order)
    with pytest.raises(Cancelled):
        runtime.measuring.run(order, first)
    runtime.measuring.finish(order, "stopped")
    assert not (runtime.settings.home / "evaluations" / "job_x.measured").exists()


def test_what_jobs_that_are_gone_left_behind_goes_at_the_next_start(runtime: Runtime) -> None:
    folder = runtime.settings.home / "evaluations"
    (folder / "job_gone.measured").mkdir(parents=True)
    (folder / "job_gone.json").write_text("{}")
    runtime.measuring._reports.tidy()
    assert not [each for each in folder.iterdir() if each.name.startswith("job_gone")]


def test_nothing_judged_is_said_before_the_job(runtime: Runtime) -> None:
    runtime.library.create_collection(admin(runtime), "unjudged")
    with pytest.raises(InvalidInput):
        runtime.measuring.submit(admin(runtime), "unjudged")

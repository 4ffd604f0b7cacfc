"""Questions about a collection without judgements are made from its passages, and the result says so."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.platform.database.tables import DocumentRow, JobState
from keepstone.platform.errors import InvalidInput
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.training.relevance import Judgement
from keepstone.training.relevance.questions import Question
from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, admin, ingest, open_stack
from tests.training.data.handbooks import ask, handbooks

_NAMES = (f"handbooks-{number}" for number in itertools.count())


@pytest.fixture(scope="module", params=["write", "quote"])
def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """Return a runtime with a model that writes questions, and one whose model is too small for that."""
    home = Path(tmp_path_factory.mktemp("home"))
    with open_stack(home, engine=ScriptedEngine(default=ask), answering={"style": request.param}) as opened:
        yield opened


def made(runtime: Runtime, collection: str) -> tuple[Question, ...]:
    """Return questions about a collection, made in one go."""
    me = admin(runtime)
    info = runtime.library.collection(me, collection)
    maker, path = runtime.maker, runtime.settings.home / f"{collection}.jsonl"
    scope = runtime.evaluator.unjudged(me, collection, maker.source()).scope
    passages = maker.take(path, info.id, info.name, lambda: None)
    return maker.make(path, (0, passages), scope, maker.source(), lambda: None).questions


def test_a_collection_without_judgements_is_measured_on_made_questions(runtime: Runtime) -> None:
    me, name = admin(runtime), next(_NAMES)
    ingest(runtime, me, name, handbooks(5))
    expected = "written" if runtime.settings.answering.style == "write" else "sentences"
    job_id = runtime.measuring.submit(me, name, k=5)
    ended = runtime.jobs.wait(job_id, WAIT_S)
    assert ended.state == JobState.SUCCEEDED, ended.error
    report = runtime.measuring.report(me, job_id)
    assert (report.source, report.documents) == (expected, 5)
    assert report.questions >= 5
    # Judged ones count for more; made ones can still be asked for.
    document = runtime.library.documents(me, name)[0].name
    runtime.judgements.put(me, name, [Judgement.model_validate({"question": "What?", "relevant": [document]})])
    for wanted, source in (("auto", "judged"), ("made", expected)):
        job_id = runtime.measuring.submit(me, name, questions=wanted)  # type: ignore[arg-type]
        runtime.jobs.wait(job_id, WAIT_S)
        assert runtime.measuring.report(me, job_id).source == source
    left = [each.name for each in (runtime.settings.home / "evaluations").iterdir()]
    assert all(each.endswith(".json") and "corpus" not in each for each in left)


def test_what_answers_is_a_sentence_of_the_document(runtime: Runtime) -> None:
    """A whole passage would be held by no passage that is cut otherwise."""
    me, name = admin(runtime), next(_NAMES)
    ingest(runtime, me, name, handbooks(4))
    questions = made(runtime, name)
    with runtime.database.reading() as session:
        texts = {row.id: row.text or "" for row in session.query(DocumentRow)}
    answers = [texts[item.document_id][item.start : item.end] for each in questions for item in each.items]
    assert answers
    assert all("after" in each and len(each) < 400 for each in answers)
    assert questions == made(runtime, name), "the same collection gives the same"


def test_too_few_documents_are_refused_at_once(runtime: Runtime) -> None:
    me, name = admin(runtime), next(_NAMES)
    ingest(runtime, me, name, handbooks(2))
    for submit in (runtime.measuring.submit, runtime.tuning.submit):
        with pytest.raises(InvalidInput, match="too small") as refused:
            submit(me, name)
        assert "--judgements" in str(refused.value.fix)
    with pytest.raises(InvalidInput, match="judged"):
        runtime.measuring.submit(me, name, questions="judged")

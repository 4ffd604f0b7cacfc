"""A collection is searched in the way that a sweep advises, it alone, and as before again when somebody wants that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keepstone.platform.access import readable_scope
from keepstone.platform.database.tables import CollectionRow, DocumentRow, JobRow, JobState
from keepstone.platform.errors import Conflict, Forbidden, NotFound
from keepstone.retrieval.search import SearchResult
from keepstone.training.evaluate.bootstrap import Effect
from keepstone.training.relevance import TuningReport
from keepstone.training.relevance.ways import Way
from keepstone.ui.runtime import Runtime
from tests.stack import WAIT_S, admin, ingest, open_stack, someone
from tests.training.data.handbooks import handbooks


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with open_stack(tmp_path) as opened:
        for collection in ("docs", "others"):
            ingest(opened, admin(opened), collection, handbooks(3))
        yield opened


def way(runtime: Runtime, collection: str = "docs") -> Way:
    """Return the way in which a collection is searched."""
    with runtime.database.reading() as session:
        return runtime.adoption.way(session.query(CollectionRow).filter_by(name=collection).one())


def compared(runtime: Runtime, advice: Any = "change", **best: Any) -> str:
    """Keep the report of a sweep over the ways in which `docs` is searched; return the job's id."""
    current = way(runtime)
    me = admin(runtime)
    with runtime.database.transaction() as session:
        collection_id = runtime.library.collection(me, "docs").id
        job = JobRow(kind="tune", collection_id=collection_id, args={}, state=JobState.SUCCEEDED, principal_id=me.id)
        session.add(job)
        session.flush()
        job_id = job.id
    runtime.tuning._reports.keep(
        job_id,
        TuningReport(
            collection="docs",
            k=10,
            questions=20,
            source="judged",
            current=current,
            best=replace(current, **best),
            effect=Effect(0.5, 0.6, 0.1, 0.05, 0.15, 10, 10),
            recalls=(),
            advice=advice,
            tried=(),
            left_out={},
        ),
    )
    return job_id


def search(runtime: Runtime, *collections: str) -> SearchResult:
    with runtime.database.reading() as session:
        scope = readable_scope(session, admin(runtime), collections)
    return runtime.searcher.search(scope, "How long may one wait until the lamp is cleaned?", k=3)


def test_searches_of_the_collection_alone_follow_and_go_back(runtime: Runtime) -> None:
    me, before = admin(runtime), way(runtime)
    job_id = compared(runtime, dense_weight=0.0, reranker="late")
    adopted = runtime.tuning.adopt(me, job_id)
    assert adopted.way == replace(before, dense_weight=0.0, reranker="late")
    assert adopted.jobs == ()
    assert search(runtime, "docs").dense_weight == 0.0
    assert (search(runtime, "docs").reranker or "").startswith("late")
    # Where collections differ in what they chose, none of them has its way.
    for others in (("others",), ("docs", "others")):
        assert search(runtime, *others).reranker is None
    info = runtime.library.collection(me, "docs")
    assert info.own_search == {"dense_weight": 0.0, "candidates": 100, "reranker": "late"}
    assert info.adopted is not None
    assert info.adopted["tuning"] == job_id
    assert runtime.adoption.undo(me, "docs").way == before
    info = runtime.library.collection(me, "docs")
    assert (info.own_search, info.adopted) == (None, None)
    assert search(runtime, "docs").reranker is None
    with pytest.raises(Conflict):
        runtime.adoption.undo(me, "docs")


def test_adoptions_are_undone_one_by_one(runtime: Runtime) -> None:
    me = admin(runtime)
    ways = [way(runtime)]
    ways += [runtime.tuning.adopt(me, compared(runtime, dense_weight=weight)).way for weight in (0.3, 0.7)]
    assert [runtime.adoption.undo(me, "docs").way for _ in range(2)] == ways[1::-1]


def test_documents_are_cut_anew_and_back(runtime: Runtime) -> None:
    me = admin(runtime)

    def chunkers() -> set[str]:
        collection_id = runtime.library.collection(me, "docs").id
        with runtime.database.reading() as session:
            rows = session.query(DocumentRow).filter_by(collection_id=collection_id)
            return {str(each.chunker).split("/")[0] for each in rows}

    [adopting] = runtime.tuning.adopt(me, compared(runtime, chunker="recursive", max_tokens=64)).jobs
    assert runtime.jobs.wait(adopting, WAIT_S).state == JobState.SUCCEEDED
    assert chunkers() == {"recursive"}
    [undoing] = runtime.adoption.undo(me, "docs").jobs
    runtime.jobs.wait(undoing, WAIT_S)
    assert chunkers() == {"structure"}
    assert not runtime.library.collection(me, "docs").own_chunking


def test_a_second_adoption_of_the_same_advice_changes_nothing(runtime: Runtime) -> None:
    """The last step of a job that adopts may run twice."""
    me = admin(runtime)
    job_id = compared(runtime, chunker="recursive")
    assert len(runtime.tuning.adopt(me, job_id).jobs) == 1
    assert runtime.tuning.adopt(me, job_id).jobs == ()


def test_what_was_compared_must_be_what_is_in_use(runtime: Runtime) -> None:
    me = admin(runtime)
    first, second = compared(runtime, dense_weight=0.3), compared(runtime, dense_weight=0.7)
    runtime.tuning.adopt(me, first)
    with pytest.raises(Conflict, match="any more"):
        runtime.tuning.adopt(me, second)
    with pytest.raises(Conflict, match="chance"):
        runtime.tuning.adopt(me, compared(runtime, advice="keep"))
    with pytest.raises(NotFound):
        runtime.tuning.adopt(me, "job_0")


def test_only_who_owns_the_collection_changes_it(runtime: Runtime) -> None:
    job_id = compared(runtime, dense_weight=0.3)
    stranger = someone(runtime, "stranger")
    with pytest.raises(NotFound):
        runtime.tuning.adopt(stranger, job_id)
    runtime.library.grant(admin(runtime), "docs", "stranger", "writer")
    with pytest.raises(Forbidden):
        runtime.tuning.adopt(stranger, job_id)
    with pytest.raises(Forbidden):
        runtime.adoption.undo(stranger, "docs")


def test_a_reranker_that_was_adopted_is_not_removed(runtime: Runtime, tmp_path: Path) -> None:
    """Searches would fail from then on."""
    folder = tmp_path / "models" / "judge"
    folder.mkdir(parents=True)
    runtime.registry.add(name="judge", kind="reranker", version="1", path=folder, source="here", details={})
    runtime.tuning.adopt(admin(runtime), compared(runtime, reranker="judge"))
    with pytest.raises(Conflict, match="docs"):
        runtime.registry.remove("judge")
    runtime.adoption.undo(admin(runtime), "docs")
    assert runtime.registry.remove("judge").name == "judge"

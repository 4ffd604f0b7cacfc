"""The job that builds an index under another encoder, in the whole app: it gets done, or leaves nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from keepstone.platform.access import readable_scope
from keepstone.platform.database.tables import JobState
from keepstone.platform.errors import Forbidden, NotFound
from keepstone.retrieval import reindex, reindex_job
from keepstone.retrieval.encoder import HashEncoder
from keepstone.ui.runtime import Runtime
from tests.retrieval.corpus import encoders_of
from tests.stack import WAIT_S, admin, ingest, open_stack, someone

_FILES = {f"{n}.md": f"# Part {n}\n\nThe lamp {n} lasts {n}00 hours.\n".encode() for n in range(1, 6)}


class _Watched(HashEncoder):
    """Calls somebody before it encodes passages."""

    before: Callable[[], None] = staticmethod(lambda: None)

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.before()
        return super().encode_documents(texts)


@pytest.fixture
def tuned() -> _Watched:
    return _Watched(128)


@pytest.fixture
def runtime(tmp_path: Path, tuned: _Watched) -> Iterator[Runtime]:
    with open_stack(tmp_path / "home", encoder=encoders_of(HashEncoder(), tuned)) as opened:
        ingest(opened, admin(opened), "docs", _FILES)
        yield opened


def encoder_of(runtime: Runtime) -> str:
    return runtime.library.collection(admin(runtime), "docs").encoder


def states(runtime: Runtime) -> dict[str, str]:
    collection_id = runtime.library.collection(admin(runtime), "docs").id
    return {each.encoder: each.state for each in runtime.reindexing.versions(collection_id)}


def test_a_tuned_encoder_serves_its_collection_and_no_other(
    runtime: Runtime, tuned: _Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindex_job, "_UNIT_PASSAGES", 2)
    me = admin(runtime)
    ingest(runtime, me, "other", {"a.md": b"The lamp is green."})
    job = runtime.jobs.wait(runtime.reindex_jobs.submit(me, "docs", tuned.version), WAIT_S)
    assert (job.state, job.done, job.total) == (JobState.SUCCEEDED, 5, 5)
    collection_id = runtime.library.collection(me, "docs").id
    runtime.reindexing.switch(collection_id, tuned.version)
    assert encoder_of(runtime) == tuned.version
    ingest(runtime, me, "docs", {"later.md": b"The fuse is rated at 3 ampere."})
    with runtime.database.reading() as session:
        scope = readable_scope(session, me)
    result = runtime.searcher.search(scope, "The fuse is rated at 3 ampere.")
    assert result.hits[0].document_name == "later.md"
    assert sorted(result.encoders.values()) == sorted([tuned.version, runtime.encoder.version])
    assert runtime.indexes.verify(collection_id).ok
    assert runtime.indexes.get(collection_id).vectors.count == 6


def test_an_encoder_of_its_own_outlives_a_restart_and_another_default(tmp_path: Path, tuned: _Watched) -> None:
    """The settings decide for collections that follow them; a promoted encoder stays until it is rolled back."""
    home, first, second = tmp_path / "home", HashEncoder(16), HashEncoder(24)
    with open_stack(home, encoder=encoders_of(first, tuned)) as before:
        for name in ("docs", "follows"):
            ingest(before, admin(before), name, _FILES)
        collection_id = before.library.collection(admin(before), "docs").id
        before.reindexing.build(collection_id, tuned.version)
        before.reindexing.switch(collection_id, tuned.version)
    with open_stack(home, encoder=encoders_of(second, first, tuned)) as after:
        for job_id in after.resumed:
            after.jobs.wait(job_id, WAIT_S)
        encoders = {each.name: each.encoder for each in after.library.collections(admin(after))}
        assert encoders == {"docs": tuned.version, "follows": second.version}
        assert after.indexes.verify(collection_id).ok
        after.reindexing.switch(collection_id, first.version)
        assert encoder_of(after) == first.version


def test_back_at_the_default_it_follows_the_settings_again(tmp_path: Path, tuned: _Watched) -> None:
    home, first, second = tmp_path / "home", HashEncoder(16), HashEncoder(24)
    with open_stack(home, encoder=encoders_of(first, tuned)) as before:
        ingest(before, admin(before), "docs", _FILES)
        collection_id = before.library.collection(admin(before), "docs").id
        before.reindexing.build(collection_id, tuned.version)
        for version in (tuned.version, first.version):
            before.reindexing.switch(collection_id, version)
    with open_stack(home, encoder=encoders_of(second, first, tuned)) as after:
        for job_id in after.resumed:
            after.jobs.wait(job_id, WAIT_S)
        assert encoder_of(after) == second.version
        assert after.indexes.verify(collection_id).ok


def test_a_build_that_is_cancelled_leaves_nothing_behind(
    runtime: Runtime, tuned: _Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindex, "_SLICE", 1)
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(WAIT_S)

    tuned.before = wait  # type: ignore[method-assign]
    job_id = runtime.reindex_jobs.submit(admin(runtime), "docs", tuned.version)
    assert begun.wait(WAIT_S)
    assert states(runtime)[tuned.version] == "building"
    runtime.jobs.cancel(job_id)
    go_on.set()
    assert runtime.jobs.wait(job_id, WAIT_S).state == JobState.CANCELLED
    assert states(runtime) == {runtime.encoder.version: "live"}


def test_a_build_that_fails_says_why_and_leaves_nothing_behind(runtime: Runtime) -> None:
    job = runtime.jobs.wait(runtime.reindex_jobs.submit(admin(runtime), "docs", "gone@1"), WAIT_S)
    assert job.state == JobState.FAILED
    assert "'gone@1'" in str(job.error)
    assert states(runtime) == {runtime.encoder.version: "live"}


def test_a_switch_while_documents_come_in_loses_none(runtime: Runtime, tuned: _Watched) -> None:
    """What was encoded for the former encoder, but not yet committed, is encoded again for the new one."""
    me, collection_id = admin(runtime), runtime.library.collection(admin(runtime), "docs").id
    runtime.reindexing.build(collection_id, tuned.version)
    encode = runtime.ingestion._encode
    switched: list[str] = []

    def encode_then_switch(*arguments: object) -> None:
        encode(*arguments)  # type: ignore[arg-type]
        if not switched:
            switched.append(tuned.version)
            runtime.reindexing.switch(collection_id, tuned.version)

    runtime.ingestion._encode = encode_then_switch  # type: ignore[method-assign]
    job = ingest(runtime, me, "docs", {"later.md": b"The fuse is rated at 3 ampere."})
    assert (job.state, switched) == (JobState.SUCCEEDED, [tuned.version])
    assert runtime.indexes.verify(collection_id).ok
    assert runtime.indexes.get(collection_id).vectors.count == 6


def test_only_who_owns_a_collection_gives_it_another_encoder(runtime: Runtime, tuned: _Watched) -> None:
    with pytest.raises(NotFound):
        runtime.reindex_jobs.submit(someone(runtime, "stranger"), "docs", tuned.version)
    runtime.library.grant(admin(runtime), "docs", "stranger", "writer")
    stranger = someone(runtime, "other")
    runtime.library.grant(admin(runtime), "docs", "other", "writer")
    with pytest.raises(Forbidden):
        runtime.reindex_jobs.submit(stranger, "docs", tuned.version)

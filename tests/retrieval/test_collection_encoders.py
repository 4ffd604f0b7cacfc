"""Collections with encoders of their own, in the whole app: across ingestion, restarts and other settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.platform.access import readable_scope
from keepstone.platform.database.tables import JobState
from keepstone.platform.errors import Conflict, ModelMissing
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.platform.settings import load_settings
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders, open_encoder
from keepstone.ui.runtime import Runtime
from tests.retrieval.corpus import encoders_of
from tests.stack import WAIT_S, admin, ingest, open_stack
from tests.training.tiny_models import tiny_encoder

_FILES = {f"{n}.md": f"# Part {n}\n\nThe lamp {n} lasts {n}00 hours.\n".encode() for n in range(1, 6)}


@pytest.fixture
def tuned() -> HashEncoder:
    return HashEncoder(128)


@pytest.fixture
def runtime(tmp_path: Path, tuned: HashEncoder) -> Iterator[Runtime]:
    with open_stack(tmp_path / "home", encoder=encoders_of(HashEncoder(), tuned)) as opened:
        ingest(opened, admin(opened), "docs", _FILES)
        yield opened


def encoder_of(runtime: Runtime) -> str:
    return runtime.library.collection(admin(runtime), "docs").encoder


def test_a_tuned_encoder_serves_its_collection_and_no_other(runtime: Runtime, tuned: HashEncoder) -> None:
    me = admin(runtime)
    ingest(runtime, me, "other", {"a.md": b"The lamp is green."})
    collection_id = runtime.library.collection(me, "docs").id
    runtime.reindexing.build(collection_id, tuned.version)
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


def test_an_encoder_of_its_own_outlives_a_restart_and_another_default(tmp_path: Path, tuned: HashEncoder) -> None:
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


def test_back_at_the_default_it_follows_the_settings_again(tmp_path: Path, tuned: HashEncoder) -> None:
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


def test_a_switch_while_documents_come_in_loses_none(runtime: Runtime, tuned: HashEncoder) -> None:
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


def test_encoders_are_found_in_the_registry(tmp_path: Path) -> None:
    """By name and version, as the models were installed; one that was removed is named with the way back."""
    home = tmp_path / "home"
    with open_stack(home, encoder=HashEncoder()) as runtime:
        for seed in (0, 1):
            folder = tiny_encoder(home / "models" / str(seed), seed=seed)
            runtime.registry.add(
                name=f"tiny-{seed}", kind="encoder", version="1", path=folder, source="test", details={}
            )
    settings = load_settings(home=home, encoder={"model": "tiny-0"})
    with Runtime.open(settings, engine=ScriptedEngine()) as runtime:
        me = admin(runtime)
        ingest(runtime, me, "docs", {"a.md": b"The amber book is about willow."})
        collection_id = runtime.library.collection(me, "docs").id
        runtime.reindexing.build(collection_id, "tiny-1@1")
        runtime.reindexing.switch(collection_id, "tiny-1@1")
        with runtime.database.reading() as session:
            scope = readable_scope(session, me)
        assert runtime.searcher.search(scope, "amber").encoders == {collection_id: "tiny-1@1"}
        with pytest.raises(Conflict, match="'docs' is searched with tiny-1"):
            runtime.registry.remove("tiny-1")
        runtime.reindexing.switch(collection_id, "tiny-0@1")
        assert runtime.searcher.search(scope, "amber").encoders == {collection_id: "tiny-0@1"}
        runtime.registry.remove("tiny-1")
        with pytest.raises(ModelMissing, match="tiny-1@1"):
            Encoders(HashEncoder(), lambda version: open_encoder(runtime.registry.get(version), settings.encoder)).get(
                "tiny-1@1"
            )

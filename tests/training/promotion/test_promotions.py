"""Promotion and rollback: refused without a verdict, whole or not at all, and the next answer tells of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from fastapi import FastAPI

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import CollectionRow, VerdictRow, new_id
from keepstone.platform.errors import Conflict, Forbidden, InvalidInput, ModelMissing
from keepstone.platform.serving.promoted import models_in_use
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.ui.http.app import create_app
from keepstone.ui.runtime import Runtime
from tests.stack import NEVER_DECLINES, WAIT_S, admin, ingest, open_stack, someone
from tests.ui.served import client_of, key_of

OLD, NEW = "hash-64", "tuned@2"
PATH = "/v1/models/promotions"
QUESTION = {"model": "manuals", "messages": [{"role": "user", "content": "How long does the warranty last?"}]}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """Return a runtime with a collection, and a second encoder in the registry."""
    home = tmp_path_factory.mktemp("home")
    tuned = HashEncoder(32)
    tuned.version = NEW
    encoders = Encoders(HashEncoder(), {NEW: tuned}.__getitem__)
    engine = ScriptedEngine(default="The warranty lasts two years. [1]")
    with open_stack(home, engine=engine, encoder=encoders, answering=NEVER_DECLINES) as runtime:
        _install(runtime, "tuned", "encoder", "2")
        _install(runtime, "judge", "reranker", "1")
        _install(runtime, "writer", "llm", "1")
        ingest(runtime, admin(runtime), "manuals", {"w.md": b"The warranty lasts two years.", "k.md": b"Keys open."})
        yield runtime


@pytest.fixture
def boss(runtime: Runtime) -> Iterator[Principal]:
    """Return the administrator; afterwards everything is as it was."""
    principal = admin(runtime)
    yield principal
    while runtime.promotions.live(principal, collection="manuals") != OLD:
        runtime.promotions.rollback(principal, collection="manuals")


@pytest.fixture
def app(runtime: Runtime) -> FastAPI:
    """Return the app without web pages."""
    return create_app(runtime, web=False)


def _install(runtime: Runtime, name: str, kind: str, version: str) -> None:
    folder = runtime.registry.folder / name / version
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    runtime.registry.add(name=name, kind=kind, version=version, path=folder, source="test", details={})  # type: ignore[arg-type]


def _judge(runtime: Runtime, outcome: str, *, live: str = OLD) -> str:
    with runtime.database.transaction() as session:
        collection = session.query(CollectionRow).filter_by(name="manuals").one()
        row = VerdictRow(
            id=new_id("vrd"),
            collection_id=collection.id,
            dataset="manuals-1",
            subject="encoder",
            live=live,
            candidate=NEW,
            goal="search",
            outcome=outcome,
            reasons=[],
            figures=[],
        )
        session.add(row)
        return row.id


async def test_what_was_not_judged_is_not_promoted_unless_one_insists(app: FastAPI, runtime: Runtime) -> None:
    async with client_of(app, key_of(runtime)) as client:
        order = {"model": "tuned", "collection": "manuals"}
        refused = await client.post(PATH, json=order)
        assert refused.status_code == 409
        assert "it has not been judged" in refused.json()["error"]["message"]
        assert "--force" in refused.json()["error"]["fix"]
        assert await _versions(client) == OLD
        job = (await client.post(PATH, json=order | {"force": True})).json()
        assert runtime.jobs.wait(job["id"], WAIT_S).error is None
        assert await _versions(client) == NEW
        [promotion] = (await client.get(PATH)).json()["data"]
        assert (promotion["model"], promotion["previous"], promotion["collection"]) == (NEW, OLD, "manuals")
        assert promotion["live_at"]
        job = (await client.post(f"{PATH}/rollback", json={"collection": "manuals"})).json()
        assert runtime.jobs.wait(job["id"], WAIT_S).error is None
        assert await _versions(client) == OLD
        assert (await client.get(PATH)).json()["data"][0]["undone_at"]
        nothing = await client.post(f"{PATH}/rollback", json={"collection": "manuals"})
        assert nothing.status_code == 409


async def _versions(client: httpx.AsyncClient) -> str:
    """Return the encoder of the next answer, from its provenance."""
    answer = (await client.post("/v1/chat/completions", json=QUESTION)).json()
    record = (await client.get(f"/v1/answers/{answer['keepstone']['answer_id']}")).json()
    return str(record["versions"]["encoder"])


async def test_only_administrators_promote(app: FastAPI, runtime: Runtime) -> None:
    ann = someone(runtime, "ann")
    with pytest.raises(Forbidden):
        runtime.promotions.promote(ann, "tuned", collection="manuals", force=True)
    async with client_of(app, key_of(runtime, "bob")) as bob:
        assert (await bob.get(PATH)).status_code == 403
        assert (await bob.post(PATH, json={"model": "tuned"})).status_code == 403
        assert (await bob.post(f"{PATH}/rollback", json={})).status_code == 403


async def test_adapters_cannot_be_loaded_past_promotion(app: FastAPI, runtime: Runtime) -> None:
    """Whoever may load files into the engine may make it say anything."""
    async with client_of(app, key_of(runtime)) as client:
        for path in ("load_lora_adapter", "unload_lora_adapter"):
            answer = await client.post(f"/v1/{path}", json={"lora_name": "x", "lora_path": "x"})
            assert answer.status_code in (404, 405)


def test_a_verdict_for_it_is_enough(runtime: Runtime, boss: Principal) -> None:
    verdict = _judge(runtime, "promote")
    promotion = runtime.promotions.promote(boss, "tuned@2", collection="manuals")
    assert promotion.verdict_id == verdict
    assert runtime.promotions.live(boss, collection="manuals") == NEW
    with pytest.raises(Conflict, match="live already"):
        runtime.promotions.promote(boss, "tuned", collection="manuals", force=True)


def test_a_verdict_against_it_or_against_another_live_model_is_not(runtime: Runtime, boss: Principal) -> None:
    _judge(runtime, "promote", live="other@1")
    with pytest.raises(Conflict, match="judged against other@1, and hash-64 is live now"):
        runtime.promotions.promote(boss, "tuned", collection="manuals")
    _judge(runtime, "refuse")
    with pytest.raises(Conflict, match="the verdict over it is 'refuse'"):
        runtime.promotions.promote(boss, "tuned", collection="manuals")
    with pytest.raises(Conflict, match="no verdict vrd_x over it"):
        runtime.promotions.promote(boss, "tuned", collection="manuals", verdict_id="vrd_x")
    assert runtime.promotions.live(boss, collection="manuals") == OLD


def test_what_cannot_become_live_is_refused_in_plain_words(runtime: Runtime, boss: Principal) -> None:
    promote = runtime.promotions.promote
    with pytest.raises(InvalidInput, match="encoder, which becomes live for one collection"):
        promote(boss, "tuned", force=True)
    with pytest.raises(InvalidInput, match="answers for all collections"):
        promote(boss, "writer", collection="manuals", force=True)
    with pytest.raises(InvalidInput, match="reranker, which cannot be promoted"):
        promote(boss, "judge", force=True)
    with pytest.raises(ModelMissing):
        promote(boss, "nobody", force=True)


def test_a_failed_switch_leaves_the_old_one_live_and_says_given_up(
    runtime: Runtime, boss: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(runtime.reindexing, "switch", full)
    with pytest.raises(OSError, match="disk full"):
        runtime.promotions.promote(boss, "tuned", collection="manuals", force=True)
    monkeypatch.undo()
    newest = runtime.promotions.history(boss)[0]
    assert (newest.live_at, newest.undone_at is not None) == (None, True)
    assert runtime.promotions.live(boss, collection="manuals") == OLD


@pytest.mark.parametrize("step", ["intended", "switched", "switched back"])
def test_after_a_kill_the_history_tells_what_is_the_case(
    runtime: Runtime, boss: Principal, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between two steps: as if the next step had never been written down."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    promotions, records = runtime.promotions, runtime.promotions._records
    if step == "switched back":
        promotions.promote(boss, "tuned", collection="manuals", force=True)
    monkeypatch.setattr(promotions, "_give_up", killed)
    monkeypatch.setattr(*((runtime.reindexing, "switch") if step == "intended" else (records, "made_live")), killed)
    monkeypatch.setattr(records, "undone", killed)
    act = partial(promotions.promote, reference="tuned", force=True)
    if step == "switched back":
        act = partial(promotions.rollback)
    with pytest.raises(KeyboardInterrupt):
        act(boss, collection="manuals")
    monkeypatch.undo()
    promotions.settle()
    newest, live = promotions.history(boss)[0], promotions.live(boss, collection="manuals")
    assert (live == NEW) == (step == "switched")
    assert (newest.live_at is not None, newest.undone_at is None) == {
        "intended": (False, False),
        "switched": (True, True),
        "switched back": (True, False),
    }[step]
    promotions.settle()
    assert promotions.history(boss)[0] == newest


def test_models_in_use_are_those_that_answer_and_search(runtime: Runtime, boss: Principal) -> None:
    runtime.promotions.promote(boss, "tuned", collection="manuals", force=True)
    assert NEW in models_in_use(runtime.registry, runtime.settings)
    assert "writer@1" not in models_in_use(runtime.registry, runtime.settings)

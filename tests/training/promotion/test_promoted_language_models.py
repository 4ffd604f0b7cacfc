"""A promoted language model answers, is there at the next start, and yields to a person who edits the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keepstone.platform.access import Principal
from keepstone.platform.accounts import SCOPES, ensure_local_admin
from keepstone.platform.database import Database
from keepstone.platform.errors import Conflict, InvalidInput, ModelMissing
from keepstone.platform.jobs import Jobs
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.platform.serving.candidates import Candidates
from keepstone.platform.serving.promoted import live_language_model
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes import IndexSet
from keepstone.retrieval.reindex import Reindexing
from keepstone.training.promotion import Promotions
from tests.platform.serving.adapter_files import write_adapter, write_base
from tests.platform.serving.test_handover import Stage
from tests.platform.serving.test_live_engine import ASK


class House:
    """A registry with two language models and an adapter, engines with stand-ins for vLLM, and promotions."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(f"sqlite:///{folder / 'k.db'}")
        self.database.upgrade()
        with self.database.transaction() as session:
            row = ensure_local_admin(session)
            self.boss = Principal(row.id, row.name, is_admin=True, scopes=frozenset(SCOPES))
        self.registry = ModelRegistry(self.database, folder / "home")
        self.stage = Stage(folder)
        self.one = self.add("one", write_base)
        self.two = self.add("two", write_base)
        self.tuned = self.add("tuned", write_adapter, base_id=self.one.id)
        self.stage.engines = self.stage.another(live_language_model(self.registry, "one"))
        self.promotions = self.open()

    def open(self, setting: str = "one") -> Promotions:
        """Begin as a process does at its start."""
        encoders = Encoders(HashEncoder())
        indexes = IndexSet(self.database, self.stage.folder / "indexes", encoders)
        return Promotions(
            database=self.database,
            registry=self.registry,
            candidates=Candidates(self.registry, self.stage.engines),
            reindexing=Reindexing(self.database, encoders, indexes),
            setting=setting,
            jobs=Jobs(self.database, f"sqlite:///{self.stage.folder / 'jobs.db'}"),
        )

    def add(self, name: str, write: Callable[[Path], Path], base_id: str | None = None) -> InstalledModel:
        """Install a model."""
        folder = write(self.stage.folder / name)
        if base_id is None:
            (folder / "config.json").write_text("{}")
        kind = "adapter" if base_id else "llm"
        return self.registry.add(
            name=name,
            kind=kind,  # type: ignore[arg-type]
            version="1",
            path=folder,
            source="test",
            details={},
            base_id=base_id,
        )

    def start(self) -> None:
        """Start the engine and wait for it."""
        self.stage.engines.start()
        self.stage.engines.supervisor.wait_ready(30)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.start()
    yield made
    made.stage.engines.stop()
    made.database.close()


def test_an_adapter_and_then_a_model_are_promoted_and_each_rolled_back(house: House) -> None:
    promote, rollback = house.promotions.promote, house.promotions.rollback
    promote(house.boss, "tuned", force=True)
    assert (house.stage.ask(), house.promotions.live(house.boss)) == ("tuned@1", "tuned@1")
    promote(house.boss, "two", force=True)
    assert (house.stage.ask(), house.promotions.live(house.boss)) == ("two", "two@1")
    rollback(house.boss)
    assert house.stage.ask() == "tuned@1"
    rollback(house.boss)
    assert (house.stage.ask(), house.promotions.live(house.boss)) == ("one", "one@1")
    with pytest.raises(Conflict, match="Nothing was promoted"):
        rollback(house.boss)


def test_the_next_start_serves_what_was_promoted_unless_the_setting_changed(house: House) -> None:
    house.promotions.promote(house.boss, "tuned", force=True)
    found = live_language_model(house.registry, "one")
    assert (found.base.name, found.reference) == ("one", "tuned@1")
    assert live_language_model(house.registry, "two").reference == "two@1"
    house.stage.engines.stop()
    house.stage.engines = house.stage.another(found)
    house.start()
    assert house.stage.ask() == "tuned@1"


def test_a_kill_before_the_record_leaves_the_old_one_live(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(house.promotions._records, "made_live", killed)
    monkeypatch.setattr(house.promotions, "_give_up", killed)
    with pytest.raises(KeyboardInterrupt):
        house.promotions.promote(house.boss, "two", force=True)
    monkeypatch.undo()
    house.promotions.settle()
    assert live_language_model(house.registry, "one").reference == "one@1"
    assert house.stage.ask() == "one"
    [given_up] = house.promotions.history(house.boss)
    assert given_up.undone_at
    assert not given_up.live_at


def test_an_adapter_of_another_shape_is_refused_and_the_live_one_answers_on(house: House) -> None:
    write_adapter(house.tuned.path, width=16)
    with pytest.raises(InvalidInput, match=r"does not fit one@1"):
        house.promotions.promote(house.boss, "tuned", force=True)
    assert house.stage.ask() == "one"


def test_a_promoted_model_that_is_gone_names_the_way_back(house: House) -> None:
    house.promotions.promote(house.boss, "two", force=True)
    (house.two.path / "config.json").unlink()
    with pytest.raises(ModelMissing, match="models rollback"):
        live_language_model(house.registry, "one")
    house.stage.engines.stop()
    house.promotions.rollback(house.boss)
    assert live_language_model(house.registry, "one").reference == "one@1"


def test_without_an_engine_one_can_go_back_but_not_forth(house: House) -> None:
    """The way back must not need the engine that the promoted model keeps from starting."""
    house.promotions.promote(house.boss, "two", force=True)
    house.promotions._candidates = Candidates(house.registry, None)
    with pytest.raises(Conflict, match="does not run the language model's engine"):
        house.promotions.promote(house.boss, "tuned", force=True)
    house.promotions.rollback(house.boss)
    assert live_language_model(house.registry, "one").reference == "one@1"


async def test_a_candidate_of_the_registry_answers_beside_the_live_one(house: House) -> None:
    candidates = Candidates(house.registry, house.stage.engines)
    for name, said in (("tuned", "tuned@1"), ("two", "two")):
        async with candidates.serve(name) as engine:
            assert (await engine.chat(ASK)).text == said
            live = house.stage.engines.live.client()
            assert (await live.chat(ASK)).text == "one"
            await live.close()

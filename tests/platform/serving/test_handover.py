"""A second engine takes over without a lost request, and whatever goes wrong, the one before it goes on answering."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from keepstone.platform.errors import Conflict, EngineUnavailable, InvalidInput, LimitExceeded
from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.handover import Engines
from keepstone.platform.serving.leftovers import leftovers
from keepstone.platform.serving.live import LanguageModel, Served
from keepstone.platform.serving.vllm import Launch
from tests.platform.serving.adapter_files import write_adapter, write_base
from tests.platform.serving.test_live_engine import ASK, language_model
from tests.platform.serving.test_supervisor import FAKE, PATIENCE, free_port


def nothing() -> None:
    """Record nothing."""


class Stage:
    """Engines with stand-ins for vLLM; each base has a folder through which its stand-in is told what to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        self.takes_adapters = True
        self.fits = True
        self.engines = self.another()

    def model(self, name: str, adapter: str | None = None) -> LanguageModel:
        made = language_model(name, adapter)
        base = replace(made.base, path=write_base(self.folder / name))
        if made.adapter is None:
            return LanguageModel(base)
        return LanguageModel(base, replace(made.adapter, path=write_adapter(self.folder / str(adapter))))

    def another(self, live: LanguageModel | None = None) -> Engines:
        return Engines(
            live or self.model("one"),
            name="public",
            home=self.home,
            plan=self.plan,
            check_room=self.check_room,
            patience=PATIENCE,
            drain_s=10,
            linger_s=0.2,
        )

    def plan(self, model: LanguageModel, port: int | None) -> Launch:
        base, used = model.base, port or free_port()
        return Launch(
            command=(sys.executable, str(FAKE), str(base.path), str(used), base.name),
            environment=dict(os.environ),
            port=used,
            model=base.name,
            model_dir=base.path,
            max_model_len=100,
            api_key="key",
            max_streams=9,
            timeout_s=20,
            max_lora_rank=32 if self.takes_adapters or model.adapter else 0,
        )

    def check_room(self, model: InstalledModel) -> None:
        if not self.fits:
            raise LimitExceeded(f"No room for {model.name}")

    def starts(self, name: str) -> int:
        file = self.folder / name / "starts"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def pid(self, name: str) -> int:
        return int((self.folder / name / "pids").read_text().split()[0])

    def ask(self) -> str:
        async def asked() -> str:
            engine = self.engines.live.client()
            try:
                return (await engine.chat(ASK)).text
            finally:
                await engine.close()

        return asyncio.run(asked())

    def promote(self, model: LanguageModel, commit: Callable[[], None] = nothing) -> None:
        with self.engines.prepared(model) as served:
            self.engines.take_over(served, commit)

    def until_gone(self, pid: int) -> None:
        for _ in range(1000):
            if not psutil.pid_exists(pid):
                return
            time.sleep(0.01)
        raise AssertionError(f"{pid} still lives")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    made.engines.start()
    made.engines.supervisor.wait_ready(30)
    yield made
    made.engines.stop()
    assert leftovers(made.home) == []


def test_a_second_engine_takes_over_and_the_first_ends(stage: Stage) -> None:
    first = stage.pid("one")
    recorded: list[str] = []
    stage.promote(stage.model("two"), lambda: recorded.append(stage.engines.live.served.model.base.name))
    assert recorded == ["two"]
    assert stage.ask() == "two"
    stage.until_gone(first)
    assert stage.engines.supervisor.status().log_path.name == "engine-b.log"
    stage.promote(stage.model("one"))
    assert stage.ask() == "one"
    assert stage.engines.supervisor.status().log_path.name == "engine.log"


def test_a_request_under_way_is_answered_by_the_engine_that_it_came_to(stage: Stage) -> None:
    slow = stage.folder / "one" / "slow"
    slow.touch()
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(stage.ask()))
    asking.start()
    before = stage.engines.live.served
    while not stage.engines.live.users(before):
        time.sleep(0.01)
    stage.promote(stage.model("two"))
    assert stage.ask() == "two"
    assert psutil.pid_exists(stage.pid("one"))
    slow.unlink()
    asking.join(20)
    assert answers == ["one"]
    stage.until_gone(stage.pid("one"))


def test_no_request_is_lost_during_hand_overs(stage: Stage) -> None:
    """People ask all the time while the model changes four times."""
    done = threading.Event()
    answers: list[str] = []
    faults: list[BaseException] = []

    async def ask() -> None:
        engine = stage.engines.live.client()
        while not done.is_set():
            try:
                answers.append((await engine.chat(ASK)).text)
            except BaseException as error:
                faults.append(error)
        await engine.close()

    asking = [threading.Thread(target=asyncio.run, args=(ask(),)) for _ in range(3)]
    for each in asking:
        each.start()
    for name in ("two", "one", "two"):
        stage.promote(stage.model(name))
    stage.promote(stage.model("two", "tuned"))
    done.set()
    for each in asking:
        each.join()
    assert faults == []
    assert set(answers) >= {"one", "two"}


def test_an_adapter_is_loaded_into_the_running_engine(stage: Stage) -> None:
    stage.promote(stage.model("one", "tuned"))
    assert stage.ask() == "tuned@1"
    assert stage.starts("one") == 1
    stage.promote(stage.model("one"))
    assert stage.ask() == "one"


def test_the_live_adapter_is_there_again_after_the_engine_died(stage: Stage) -> None:
    stage.promote(stage.model("one", "tuned"))
    os.kill(stage.pid("one"), signal.SIGKILL)
    while stage.engines.supervisor.status().restarts == 0:
        time.sleep(0.01)
    stage.engines.supervisor.wait_ready(30)
    assert stage.ask() == "tuned@1"


def test_a_promoted_adapter_is_there_at_the_next_start(stage: Stage) -> None:
    stage.engines.stop()
    stage.engines = stage.another(stage.model("one", "tuned"))
    stage.engines.start()
    stage.engines.supervisor.wait_ready(30)
    assert stage.ask() == "tuned@1"


def test_an_engine_that_takes_no_adapters_gets_a_successor_that_does(stage: Stage) -> None:
    """On a CPU, being ready for adapters costs speed, so the engine is not until one is wanted."""
    stage.engines.stop()
    stage.takes_adapters = False
    stage.engines = stage.another()
    stage.engines.start()
    stage.engines.supervisor.wait_ready(30)
    starts = stage.starts("one")
    stage.promote(stage.model("one", "tuned"))
    assert (stage.ask(), stage.starts("one")) == ("tuned@1", starts + 1)
    stage.promote(stage.model("one", "tuned-more"))
    assert (stage.ask(), stage.starts("one")) == ("tuned-more@1", starts + 1)
    stage.promote(stage.model("one"))
    assert (stage.ask(), stage.starts("one")) == ("one", starts + 2)


def test_a_candidate_answers_by_its_name_while_people_get_the_live_one(stage: Stage) -> None:
    async def said(served: Served) -> str:
        engine = served.connect()
        try:
            return (await engine.chat(ASK)).text
        finally:
            await engine.close()

    for candidate, name in ((stage.model("one", "tuned"), "tuned@1"), (stage.model("two"), "two")):
        with stage.engines.prepared(candidate) as served:
            assert asyncio.run(said(served)) == name
            assert stage.ask() == "one"
    stage.until_gone(stage.pid("two"))


def test_a_judged_candidate_is_promoted_without_a_second_start(stage: Stage) -> None:
    stage.engines._linger_s = 60
    with stage.engines.prepared(stage.model("two")):
        pass
    stage.promote(stage.model("two"))
    assert (stage.ask(), stage.starts("two")) == ("two", 1)


def test_the_place_of_a_candidate_in_use_is_not_taken(stage: Stage) -> None:
    with stage.engines.prepared(stage.model("two")):
        with pytest.raises(Conflict, match="in use for two@1"), stage.engines.prepared(stage.model("three")):
            pass
        assert stage.starts("three") == 0


def test_what_cannot_be_recorded_does_not_become_live(stage: Stage) -> None:
    def fail() -> None:
        raise OSError("disk full")

    for model in (stage.model("two"), stage.model("one", "tuned")):
        with pytest.raises(OSError, match="disk full"):
            stage.promote(model, fail)
        assert stage.ask() == "one"


def test_a_model_that_cannot_start_leaves_the_live_one_alone(stage: Stage) -> None:
    model = stage.model("two")
    (model.base.path / "die").touch()
    with pytest.raises(EngineUnavailable, match="died 3 times"):
        stage.promote(model)
    assert stage.ask() == "one"


def test_without_memory_for_two_nothing_starts(stage: Stage) -> None:
    stage.fits = False
    with pytest.raises(LimitExceeded, match="No room for two"):
        stage.promote(stage.model("two"))
    assert (stage.ask(), stage.starts("two")) == ("one", 0)


def test_an_adapter_that_vllm_refuses_is_refused_in_plain_words(stage: Stage) -> None:
    (stage.folder / "one" / "choosy").touch()
    with pytest.raises(InvalidInput, match=r"refused the adapter tuned@1: LoRA rank 64"):
        stage.promote(stage.model("one", "tuned"))
    assert stage.ask() == "one"


def test_a_live_adapter_that_is_refused_at_a_start_can_be_rolled_back(stage: Stage) -> None:
    stage.engines.stop()
    choosy = stage.folder / "one" / "choosy"
    choosy.touch()
    stage.engines = stage.another(stage.model("one", "tuned"))
    stage.engines.start()
    with pytest.raises(EngineUnavailable, match="models rollback"):
        stage.engines.supervisor.wait_ready(30)
    stage.promote(stage.model("one"))
    assert stage.ask() == "one"


def test_stopping_ends_a_start_that_somebody_waits_for(stage: Stage) -> None:
    model = stage.model("two")
    (model.base.path / "sick").touch()
    faults: list[BaseException] = []

    def promote() -> None:
        try:
            stage.promote(model)
        except EngineUnavailable as error:
            faults.append(error)

    promoting = threading.Thread(target=promote)
    promoting.start()
    while not stage.starts("two"):
        time.sleep(0.01)
    stage.engines.stop()
    promoting.join(20)
    assert len(faults) == 1
    with pytest.raises(EngineUnavailable, match="not running"), stage.engines.prepared(stage.model("one")):
        pass


APP = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.platform.serving.test_handover import Stage
stage = Stage(Path(sys.argv[1]))
stage.engines.start()
stage.engines.supervisor.wait_ready(60)
def wait():
    (stage.folder / "app-ready").touch()
    time.sleep(600)
stage.promote(stage.model("two"), wait)
"""


def test_an_app_killed_in_the_middle_of_a_hand_over_leaves_no_engine(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    root = Path(__file__).parents[3]
    roots = [str(root / each) for each in ("platform",)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*roots, os.environ.get("PYTHONPATH", "")])}
    app = subprocess.Popen([sys.executable, "-c", APP, str(tmp_path), str(root)], env=environment)
    try:
        while not (tmp_path / "app-ready").exists():
            assert app.poll() is None
            time.sleep(0.02)
        left = leftovers(stage.home)
        assert len(left) == 8
    finally:
        app.kill()
        app.wait()
    _, alive = psutil.wait_procs(left, timeout=30)
    assert alive == []
    stage.engines.start()
    stage.engines.supervisor.wait_ready(30)
    assert stage.ask() == "one"
    assert len(leftovers(stage.home)) == 4
    stage.engines.stop()

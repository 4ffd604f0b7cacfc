"""Runs in real processes: their models, and what is left when they are cancelled, killed or closed half way."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.platform.access import Principal
from keepstone.platform.errors import Conflict, Forbidden, InvalidInput, NotFound
from keepstone.platform.models.files import read_manifest
from keepstone.training.data import Datasets
from keepstone.training.runs import Order
from tests.training.runs.run_kit import CONFIG, ORDER, STEPS, App, open_app, prepare, training_processes, until
from tests.training.tiny_models import questions, retrieval_dataset

pytestmark = pytest.mark.recipes
# An app in a process of its own, to be killed.
PROGRAM = """
import sys, time
from pathlib import Path
from tests.training.runs.run_kit import open_app

with open_app(Path(sys.argv[1])) as app:
    if sys.argv[2] == "start":
        Path(sys.argv[1], "run-id").write_text(app.start())
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def home(prepared: Path, tmp_path: Path) -> Path:
    return shutil.copytree(prepared, tmp_path / "home")


@pytest.fixture
def app(home: Path) -> Iterator[App]:
    with open_app(home) as opened:
        yield opened


@pytest.fixture(scope="module")
def unbroken(prepared: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> str:
    """Return the version of the model that a run makes which nobody disturbs."""
    home = shutil.copytree(prepared, tmp_path_factory.mktemp("unbroken") / "home")
    with open_app(home) as app:
        run = app.wait(app.start())
        assert run.model is not None, run.error
        return version(run.model)


def version(reference: str) -> str:
    return reference.partition("@")[2]


def test_a_run_makes_a_model_with_its_lineage(app: App) -> None:
    """It says from what, on what, how and by which run it was made; the base and its name stay as they are."""
    run = app.wait(app.start(Order(recipe="embedding", dataset="words", config=CONFIG | {"epochs": 1})))
    assert (run.state, run.error, run.step, run.of) == ("succeeded", None, 3, 3)
    model = app.registry.get(run.model or "")
    assert (model.name, model.kind, model.base_id) == ("tiny-tuned", "encoder", app.base().id)
    training = model.details["training"]
    dataset = Datasets(app.home / "datasets").get("words")
    assert (training["recipe"], training["dataset"], training["job"]) == ("embedding", dataset.id, run.id)
    assert training["card"] == dataset.card_sha256
    assert training["config"]["seed"] == 42
    assert training["metrics"]["loss_last"] > 0
    assert model.details["languages"] == ["en"]
    assert app.registry.verify(model) == ()
    assert read_manifest(model.path) is not None
    folder = app.home / "runs" / run.id
    assert not (folder / "checkpoints").exists()
    assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
    # A kill between moving the model to its place and entering it: the next try finds it there.
    app.runs._handler.run(app.jobs._runner._info(app.jobs.get(run.id), None), "register")
    assert app.registry.get(run.model or "") == model


def test_a_killed_process_goes_on_where_it_was(app: App, unbroken: str) -> None:
    """SIGKILL reads as too little memory; tried again, it takes the last checkpoint and ends as if nothing had been."""
    run_id = app.start()
    app.wait_for_step(run_id, 15)
    [process] = training_processes(app.home)
    process.kill()
    failed = app.wait(run_id)
    assert failed.state == "failed"
    assert "memory" in (failed.error or "")
    assert failed.model is None
    app.jobs.retry(run_id)
    app.wait_for_step(run_id, 1)
    run = app.wait(run_id)
    assert app.steps(run_id) == list(range(1, STEPS + 1))
    assert version(run.model or "") == unbroken


def test_a_killed_app_leaves_no_process_and_goes_on(home: Path, unbroken: str) -> None:
    """SIGKILL to the app ends the training with it; the next app takes it up by itself."""
    killed = subprocess.Popen([sys.executable, "-c", PROGRAM, str(home), "start"])
    until((home / "run-id").exists)
    run_id = (home / "run-id").read_text()
    until(lambda: metrics(home, run_id) >= 15)
    [process] = training_processes(home)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    until(lambda: not process.is_running() or process.status() == "zombie")
    with open_app(home) as app:
        run = app.wait(run_id)
        assert app.steps(run_id) == list(range(1, STEPS + 1))
    assert version(run.model or "") == unbroken


def metrics(home: Path, run_id: str) -> int:
    path = home / "runs" / run_id / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_closing_app_saves_the_step_in_hand(home: Path, unbroken: str) -> None:
    """The next app goes on at exactly the next step."""
    with open_app(home) as app:
        run_id = app.start()
        app.wait_for_step(run_id, 15)
    assert training_processes(home) == []
    steps = metrics(home, run_id)
    assert (home / "runs" / run_id / "checkpoints" / f"checkpoint-{steps}" / "whole").exists()
    with open_app(home) as app:
        run = app.wait(run_id)
    assert version(run.model or "") == unbroken


def test_a_cancelled_run_leaves_nothing_but_its_curve(app: App) -> None:
    """No process, no checkpoints, no model."""
    run_id = app.start()
    app.wait_for_step(run_id, 5)
    app.runs.cancel(app.admin, run_id)
    run = app.wait(run_id)
    assert (run.state, run.model) == ("cancelled", None)
    assert training_processes(app.home) == []
    assert {path.name for path in (app.home / "runs" / run_id).iterdir()} >= {"metrics.jsonl", "log.txt"}
    assert not (app.home / "runs" / run_id / "checkpoints").exists()
    assert [model.name for model in app.registry.list()] == ["tiny"]


def test_a_failure_is_told_in_plain_words(app: App) -> None:
    """What the process found wrong is what the person reads."""
    retrieval_dataset(app.home / "datasets", rows=questions()[:3])
    run = app.wait(app.start())
    assert run.state == "failed"
    assert "too few to learn from" in (run.error or "")


def test_orders_are_checked_before_they_are_taken(app: App) -> None:
    """Who may, what is there, and names that must not be taken over."""
    reader = Principal("someone", "someone", is_admin=False, scopes=frozenset({"read", "write"}))
    for wrong, error in (
        (ORDER.model_copy(update={"recipe": "magic"}), NotFound),
        (ORDER.model_copy(update={"dataset": "../words"}), NotFound),
        (ORDER.model_copy(update={"config": {"epoch": 1}}), InvalidInput),
        (ORDER.model_copy(update={"name": "../tiny"}), InvalidInput),
        (ORDER.model_copy(update={"name": "tiny"}), Conflict),
    ):
        with pytest.raises(error):
            app.runs.start(app.admin, wrong)
    for ask in (app.runs.start, app.runs.plan):
        with pytest.raises(Forbidden):
            ask(reader, ORDER)
    with pytest.raises(Forbidden):
        app.runs.list(reader)
    assert app.runs.plan(app.admin, ORDER).steps == STEPS
    assert app.runs.list(app.admin) == []

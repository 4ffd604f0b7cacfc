"""The whole of `improve` with tiny models in real processes: what it promotes, what it leaves when it is killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keepstone.platform.access import Principal
from keepstone.platform.errors import Forbidden, InvalidInput, NotFound
from keepstone.training.improve import ImproveConfig
from keepstone.training.improve.record import Improvement, Records
from keepstone.training.promotion import Order
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest, someone
from tests.training.improve.home import COLLECTION, OPTIONS, ORDER, WAIT_S, app_on, prepare

pytestmark = [pytest.mark.recipes, pytest.mark.timeout(600)]
# An app in a process of its own, to be killed.
PROGRAM = """
import sys, time
from pathlib import Path
from tests.stack import admin
from tests.training.improve.home import ORDER, app_on

with app_on(Path(sys.argv[1])) as runtime:
    job = runtime.improvements.start(admin(runtime), ORDER)
    Path(sys.argv[1], "job-id").write_text(job)
    time.sleep(600)
"""
PAGE = "# Notice\n\nThe canteen is closed on Friday. Bring your own lunch, or order by noon on Thursday.\n"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared") / "home")


@pytest.fixture
def home(prepared: Path, tmp_path: Path) -> Path:
    return shutil.copytree(prepared, tmp_path / "home")


@pytest.fixture
def runtime(home: Path) -> Iterator[Runtime]:
    with app_on(home) as runtime:
        yield runtime


@pytest.fixture
def me(runtime: Runtime) -> Principal:
    return admin(runtime)


def ended(runtime: Runtime, me: Principal, job: str) -> Improvement:
    runtime.jobs.wait(job, WAIT_S)
    return runtime.improvements.get(me, job).record


def test_an_encoder_that_knew_nothing_is_improved_promoted_and_rolled_back(runtime: Runtime, me: Principal) -> None:
    """The verdict rests on held-out questions, the collection is searched with the new encoder, and goes back."""
    record = ended(runtime, me, job := runtime.improvements.start(me, ORDER))
    assert record.error is None
    made = record.candidate("embedding")
    assert made.judgement is not None
    assert (made.judgement.outcome, made.promoted) == ("promote", True)
    assert runtime.promotions.live(me, collection=COLLECTION) == made.model
    assert runtime.improvements.report(me, job, "html").count("<svg") == 2
    rolled = runtime.promotions.order(me, Order(collection=COLLECTION))
    assert runtime.jobs.wait(rolled, WAIT_S).error is None
    assert runtime.promotions.live(me, collection=COLLECTION) == made.live == made.base


def test_a_killed_app_goes_on_in_the_midst_of_the_training(home: Path) -> None:
    """SIGKILL while the encoder learns: the next app ends what was begun, and nothing was ordered twice."""
    records = Records(home / "reports")
    killed = subprocess.Popen([sys.executable, "-c", PROGRAM, str(home)])
    until((home / "job-id").exists)
    job = (home / "job-id").read_text()
    until(lambda: any((home / "runs").glob("*/metrics.jsonl")))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert records.get(job).stage("train embedding").state == "running"
    with app_on(home) as runtime:
        me = admin(runtime)
        record = ended(runtime, me, job)
        assert (record.error, record.candidate("embedding").promoted) == (None, True)
        assert len(runtime.runs.list(me)) == 1
        assert len(runtime.datasets.list(me)) == 1
        assert len(runtime.promotions.history(me)) == 1


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        ("few", {"a.md": b"# One\n\nOnly this."}, "too few documents to learn from"),
        ("alike", {f"{n}.md": f"{PAGE}\nPage {n}.\n".encode() for n in range(12)}, "nearly all the same"),
        ("mute", {f"{n}.md": (f"# {n}\n\n" + f"{n * 7919} " * 30).encode() for n in range(12)}, "too few"),
    ],
    ids=["too small", "near-identical pages", "nothing to ask"],
)
def test_a_collection_that_teaches_nothing_is_told_so(
    runtime: Runtime, me: Principal, name: str, files: dict[str, bytes], said: str
) -> None:
    """Before anything is trained; the encoder in use stays, and there is a report that says why."""
    ingest(runtime, me, name, files)
    before = runtime.promotions.live(me, collection=name)
    record = ended(runtime, me, runtime.improvements.start(me, ORDER.model_copy(update={"collection": name})))
    assert said in str(record.error)
    assert said in runtime.improvements.report(me, record.id, "md")
    assert runtime.promotions.live(me, collection=name) == before
    assert runtime.runs.list(me) == []


def test_the_plan_tells_each_step_and_starts_nothing(runtime: Runtime, me: Principal) -> None:
    """Rows and tokens are of the order of those of the real run."""
    steps = {step.name: step for step in runtime.improvements.plan(me, ORDER)}
    assert list(steps) == ["dataset", "train embedding", "judge embedding", "promote embedding"]
    train = steps["train embedding"]
    assert 100 < train.rows < 1000
    assert train.tokens > 8 * train.rows
    assert train.memory_gib > 0
    assert steps["judge embedding"].tokens > 0
    assert steps["dataset"].warnings == ()
    assert runtime.improvements.list(me) == []


def test_orders_are_checked_before_they_are_taken(runtime: Runtime, me: Principal) -> None:
    """Who may, what is there, and options with faults: each is answered with what mends it."""
    start = runtime.improvements.start
    wrong: tuple[tuple[dict[str, object], type[Exception], str], ...] = (
        ({"collection": "handbok"}, NotFound, "handbooks"),
        ({"options": {"embedding": {"epoch": 1}}}, InvalidInput, "epochs"),
        ({"options": {"dataset": {"passage": 1}}}, InvalidInput, "passages"),
        ({"options": {"dataset": {"passages": 0}}}, InvalidInput, "dataset.passages"),
        ({"options": {"sft": {"epochs": 1}}}, InvalidInput, "--make sft"),
    )
    for change, error, said in wrong:
        with pytest.raises(error, match=said):
            start(me, ORDER.model_copy(update=change))
    nosy = someone(runtime, "nosy")
    for ask in (start, runtime.improvements.plan):
        with pytest.raises(Forbidden):
            ask(nosy, ImproveConfig(collection=COLLECTION, options=OPTIONS))
    assert runtime.improvements.list(me) == []

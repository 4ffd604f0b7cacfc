"""The whole of `improve` with tiny models in real processes: what it promotes, what it leaves when it is killed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.training.promotion import Order
from keepstone.ui.runtime import Runtime
from tests.stack import admin
from tests.training.improve.home import COLLECTION, ORDER, WAIT_S, app_on, prepare

pytestmark = pytest.mark.recipes


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


def test_an_encoder_that_knew_nothing_is_improved_promoted_and_rolled_back(runtime: Runtime) -> None:
    """The verdict rests on held-out questions, the collection is searched with the new encoder, and goes back."""
    me = admin(runtime)
    before = runtime.library.collection(me, COLLECTION)
    job = runtime.improvements.start(me, ORDER)
    assert runtime.jobs.wait(job, WAIT_S).error is None
    record = runtime.improvements.get(me, job).record
    made = record.candidate("embedding")
    assert made.judgement is not None
    print(made.judgement)
    assert made.judgement.outcome == "promote"
    assert made.promoted
    assert runtime.promotions.live(me, collection=COLLECTION) == made.model
    answer_scope = before.id
    assert answer_scope == record.collection_id
    page = runtime.improvements.report(me, job, "html")
    assert page.count("<svg") == 2
    rolled = runtime.promotions.order(me, Order(collection=COLLECTION))
    assert runtime.jobs.wait(rolled, WAIT_S).error is None
    assert runtime.promotions.live(me, collection=COLLECTION) == made.live == made.base

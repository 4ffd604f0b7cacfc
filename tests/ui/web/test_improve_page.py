"""The page "Improve": what it shows of improvements, who sees it, and what its buttons order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import gradio as gr
import pytest

from keepstone.platform.access import Principal
from keepstone.training.improve import Improvement, Progress
from keepstone.training.improve.record import Records, Stage
from keepstone.ui.runtime import Runtime
from keepstone.ui.web import improve_view as view
from keepstone.ui.web.improve import ImprovePage
from tests.stack import someone
from tests.training.improve.records import HOSTILE, finished
from tests.ui.web.conftest import COLLECTION, event

MODEL = "mini-tuned@4567"


def ended(record: Improvement, state: str = "succeeded") -> Progress:
    return Progress(record, state, 400, 400, cancel_requested=False)


@pytest.fixture
def page(runtime: Runtime) -> ImprovePage:
    return ImprovePage(runtime)


@pytest.fixture
def record(runtime: Runtime, ann: Principal) -> Iterator[Improvement]:
    """Return the record of an improvement of the collection, on the disk."""
    collection = runtime.library.collection(ann, COLLECTION)
    made = finished(COLLECTION, collection_id=collection.id, created_at=datetime.now(UTC))
    records = Records(runtime.settings.home / "reports")
    records.save(made)
    yield made
    (records.folder / f"{made.id}.json").unlink()


def test_what_was_learned_is_shown_with_its_verdict(
    page: ImprovePage, record: Improvement, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    row, choices, running, past, timer = page.on_open(asks(ann))
    assert row["visible"]
    assert COLLECTION in str(choices["choices"])
    assert running == ""
    for shown in ("Promoted", MODEL, "It is better", "<svg", f"/v1/improvements/{record.id}/report"):
        assert shown in past
    # It is not in use here, whatever the record says, and may be promoted again.
    assert 'data-event="promote"' in past
    assert 'data-event="rollback"' not in past
    assert timer.value > 5


def test_only_administrators_see_it(
    page: ImprovePage, record: Improvement, runtime: Runtime, asks: Callable[..., gr.Request]
) -> None:
    nosy = someone(runtime, "nosy")
    row, _, running, past, timer = page.on_open(asks(nosy))
    assert not row["visible"]
    assert (running, "administrators" in past, MODEL in past) == ("", True, False)
    assert not timer.active
    with pytest.raises(gr.Error, match="administrator"):
        page.on_start("handbook", True, asks(nosy))
    with pytest.raises(gr.Error, match="administrator"):
        page.on_rollback(asks(nosy), event(improvement=record.id, recipe="embedding"))


def test_buttons_say_what_cannot_be_done(
    page: ImprovePage, record: Improvement, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    """The model of this record was never installed, and nothing was promoted."""
    for call, data in (
        (page.on_promote, {"improvement": record.id, "recipe": "embedding"}),
        (page.on_promote, {"improvement": record.id, "recipe": "sft"}),
        (page.on_rollback, {"improvement": record.id, "recipe": "embedding"}),
        (page.on_cancel, {"improvement": "job_none"}),
        (page.on_retry, {}),
    ):
        with pytest.raises(gr.Error):
            call(asks(ann), event(**data))


def test_an_order_that_cannot_be_carried_out_is_refused_in_words(
    page: ImprovePage, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    """Here the model to start from is not installed; and somebody may press the button before choosing."""
    with pytest.raises(gr.Error, match="keepstone models pull"):
        page.on_start(COLLECTION, True, asks(ann))
    with pytest.raises(gr.Error, match="No collection is chosen"):
        page.on_start(None, True, asks(ann))


def test_one_under_way_shows_its_step_and_curve() -> None:
    stages = (Stage(name="dataset", state="done", seconds=3, said="310 questions"), Stage(name="train embedding"))
    record = finished(stages=(stages[0], stages[1].model_copy(update={"state": "running"})), ended_at=None)
    curve = [{"step": step, "loss": 1 / step} for step in range(1, 9)]
    shown = view.render_running(Progress(record, "running", 150, 400, cancel_requested=False), curve)
    for expected in ("38% done", "310 questions", "Train the encoder", "<svg", 'data-event="cancel"', "aria-current"):
        assert expected in shown
    stopped = view.render_running(Progress(record, "running", 150, 400, cancel_requested=True), ())
    assert "being stopped" in stopped
    assert "data-event" not in stopped


def test_names_and_errors_are_only_text() -> None:
    record = finished(HOSTILE, error=HOSTILE)
    for shown in (view.render_past(ended(record, "failed"), {}), view.render_running(ended(record, "running"), ())):
        assert "<script" not in shown


@pytest.mark.parametrize(("live", "button"), [({}, None), ({MODEL: False}, "promote"), ({MODEL: True}, "rollback")])
def test_the_button_follows_what_is_in_use(live: dict[str, bool], button: str | None) -> None:
    """Not what the record says: somebody may have gone back since."""
    shown = view.render_past(ended(finished()), live)
    for name in ("promote", "rollback"):
        assert (f'data-event="{name}"' in shown) == (name == button)

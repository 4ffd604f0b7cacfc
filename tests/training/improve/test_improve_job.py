"""The chain of an improvement: each step once, whatever happens between them, and a report in any case."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.platform.errors import InvalidInput, StorageFull
from keepstone.platform.jobs import JobInfo
from keepstone.training.recipes.base import Diverged
from tests.training.improve.chain import Chain, Gate, opened
from tests.training.tiny_models import SUBJECTS, add_dataset, questions

STEPS = ["dataset", "train embedding", "judge", "promote"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    home = tmp_path_factory.mktemp("home")
    with opened(home, add_dataset(home / "datasets", retrieval=questions(), held_out=questions())) as chain:
        yield chain


@pytest.fixture
def chain(running: Chain) -> Chain:
    """Return an app in which nothing was ordered and nobody was told to do anything yet."""
    running.reset()
    return running


def test_it_builds_trains_judges_and_promotes(chain: Chain) -> None:
    """One after the other, and both reports stand beside the record."""
    state, record = chain.wait(job := chain.start())
    assert (state, record.error) == ("succeeded", None)
    assert chain.children.ended == STEPS
    assert [stage.state for stage in record.stages] == ["done"] * 4
    assert record.candidate("embedding").promoted
    assert record.summary == "Encoder: promoted, new@1 is in use."
    assert record.stage("dataset").said == f"{len(SUBJECTS)} questions to learn from, {len(SUBJECTS)} held out"
    for form in ("md", "html"):
        assert "new@1" in (chain.records.folder / f"{job}.{form}").read_text()
    row = chain.jobs.get(job)
    assert 0 < row.done <= row.total == 400


@pytest.mark.parametrize("outcome", ["refuse", "not_enough_data"])
def test_what_the_gate_does_not_let_pass_is_not_promoted(chain: Chain, outcome: str) -> None:
    """The improvement succeeds all the same: an honest refusal is a result."""
    chain.orders.outcome = outcome
    state, record = chain.wait(chain.start())
    assert state == "succeeded"
    assert chain.children.ended == STEPS[:3]
    assert record.stage("promote embedding").state == "skipped"
    assert not record.candidate("embedding").promoted
    assert "stays" in record.summary
    assert chain.orders.discarded == ["new@1"]


def test_without_leave_to_promote_it_waits(chain: Chain) -> None:
    state, record = chain.wait(chain.start(promote=False))
    assert (state, chain.children.ended) == ("succeeded", STEPS[:3])
    assert chain.orders.discarded == []
    assert "waits to be promoted" in record.summary


def test_a_training_that_makes_what_is_in_use_is_not_judged(chain: Chain) -> None:
    """The same data, seed and start give the same weights: there is nothing to compare."""
    chain.orders.model = "old@1"
    state, record = chain.wait(chain.start())
    assert (state, chain.children.ended) == ("succeeded", STEPS[:2])
    assert "nothing new" in record.stage("judge embedding").said


def test_one_model_is_finished_before_the_next_begins(chain: Chain) -> None:
    chain.wait(chain.start("embedding", "sft"))
    assert chain.children.ended == [*STEPS, "train sft", "judge", "promote"]


def test_too_few_held_out_questions_end_it_before_anything_is_trained(chain: Chain, tmp_path: Path) -> None:
    """Training for a verdict that cannot come would be hours for nothing."""
    chain.orders.dataset = add_dataset(tmp_path, retrieval=questions(), held_out=questions()[:5])
    state, record = chain.wait(chain.start())
    assert (state, chain.children.ended) == ("failed", ["dataset"])
    assert "5 about 5" in str(record.error)
    assert "Nothing was trained" in str(record.error)
    assert "dataset.test_share" in str(record.error)


def test_a_changed_dataset_is_not_learned_from(chain: Chain, tmp_path: Path) -> None:
    chain.orders.dataset = add_dataset(tmp_path, retrieval=questions(), held_out=questions())
    (chain.orders.dataset / "retrieval" / "test.jsonl").write_bytes(b"")
    state, record = chain.wait(chain.start())
    assert (state, chain.children.ended) == ("failed", ["dataset"])
    assert "not as it was built" in str(record.error)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "error",
    [
        Diverged("The training broke down at step 3: its loss is no number any more", fix="Try a smaller one"),
        StorageFull("No space left on the disk while training", fix="Free some space"),
        InvalidInput("The collection 'words' has too few documents to learn from (2)", fix="Add some"),
    ],
    ids=["nan", "disk full", "too small"],
)
def test_a_failed_step_is_told_and_goes_on_where_it_was(chain: Chain, step: str, error: Exception) -> None:
    """Nothing after it happens; tried again, what was done is not done again."""

    def fail(_job: JobInfo) -> None:
        raise error

    chain.children.deeds[step] = fail
    state, record = chain.wait(job := chain.start())
    place = STEPS.index(step)
    assert (state, record.error, chain.children.ended) == ("failed", str(error), STEPS[:place])
    assert not record.candidate("embedding").promoted
    assert str(error).split("'")[0] in (chain.records.folder / f"{job}.html").read_text()
    chain.children.deeds.clear()
    chain.jobs.retry(job)
    state, record = chain.wait(job)
    assert (state, record.error, chain.children.ended) == ("succeeded", None, STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_cancelling_it_cancels_what_it_ordered(chain: Chain, step: str) -> None:
    """And the report says that somebody stopped it."""
    chain.children.deeds[step] = gate = Gate()
    job = chain.start()
    assert gate.reached.wait(20)
    chain.jobs.cancel(job)
    state, record = chain.wait(job)
    assert (state, record.cancelled) == ("cancelled", True)
    child = next(stage.job for stage in reversed(record.stages) if stage.job)
    assert chain.jobs.wait(str(child), 20).state == "cancelled"
    assert chain.children.ended == STEPS[: STEPS.index(step)]
    assert not record.candidate("embedding").promoted


def test_a_full_disk_leaves_the_record_as_it_was(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that cannot be written is an error that says so; the record before it can still be read."""
    state, record = chain.wait(chain.start())

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull, match="Free some space"):
            chain.records.save(record.model_copy(update={"error": "x" * 100}))
    assert chain.records.get(record.id) == record
    assert state == "succeeded"


@pytest.mark.parametrize("name", ["..", "../keepstone", "", "a/b", "job_none"])
def test_nothing_but_reports_is_read(chain: Chain, name: str) -> None:
    assert chain.records.find(name) is None

"""An improvement goes on after a restart, whichever step it was in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.improve.chain import Gate, opened
from tests.training.tiny_models import add_dataset, questions

STEPS = ["dataset", "train embedding", "judge", "promote"]


@pytest.mark.parametrize("step", STEPS)
def test_after_a_restart_it_goes_on_with_the_job_in_hand(tmp_path: Path, step: str) -> None:
    """Orders given before are met again, not given again."""
    dataset = add_dataset(tmp_path / "datasets", retrieval=questions(), held_out=questions())
    with opened(tmp_path, dataset) as first:
        first.children.deeds[step] = gate = Gate()
        job = first.start()
        assert gate.reached.wait(20)
        before = list(first.children.ended)
    with opened(tmp_path, dataset) as second:
        state, record = second.wait(job)
        assert (state, record.error) == ("succeeded", None)
        assert before + second.children.ended == STEPS
        ids = [stage.job for stage in record.stages]
        assert len(set(ids)) == 4

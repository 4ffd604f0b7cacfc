"""The recipe `reranker`, on a tiny encoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstone.platform.machine import Machine
from keepstone.platform.models.files import check_weights, detect_kind
from keepstone.training.recipes import recipe
from keepstone.training.recipes.base import Paths, Stopped
from tests.training.notes import Notes, same, weights
from tests.training.tiny_models import SUBJECTS, retrieval_dataset, tiny_encoder

pytestmark = pytest.mark.recipes
RERANKER = recipe("reranker")
FAST = {"epochs": 8, "batch_size": 16, "learning_rate": 3e-3, "negatives": 2, "save_every": 10}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    dataset = retrieval_dataset(tmp_path / "data", negatives=1)
    return Paths(base=tiny_encoder(tmp_path / "base"), dataset=dataset, work=tmp_path / "run")


def test_it_learns_and_is_a_reranker(paths: Paths) -> None:
    """The loss falls, and the files say what they are and load as a cross-encoder."""
    from sentence_transformers import CrossEncoder

    config = RERANKER.configure(FAST)
    metrics = RERANKER.train(config, paths, notes := Notes()).metrics
    assert metrics["rows"] == len(SUBJECTS) * 3
    assert metrics["loss_last"] < metrics["loss_first"]
    check_weights(paths.output)
    assert detect_kind(paths.output) == RERANKER.result_kind(config) == "reranker"
    model = CrossEncoder(str(paths.output), device="cpu", local_files_only=True)
    scores = model.predict([("what is known about amber ?", "the book says that amber can be found here .")] * 2)
    assert scores.shape == (2,)
    plan = RERANKER.plan(config, paths, Machine(cores=2, memory_gib=8, free_disk_gib=10))
    assert plan.steps == len(notes.points)


def test_a_broken_run_ends_as_an_unbroken_one(paths: Paths, tmp_path: Path) -> None:
    """The new last layer included."""
    config = RERANKER.configure(FAST | {"epochs": 2})
    unbroken = Paths(base=paths.base, dataset=paths.dataset, work=tmp_path / "unbroken")
    RERANKER.train(config, unbroken, Notes())
    with pytest.raises(Stopped):
        RERANKER.train(config, paths, Notes(3))
    RERANKER.train(config, paths, Notes())
    assert same(weights(paths), weights(unbroken))

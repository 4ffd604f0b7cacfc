"""The recipe `embedding`, on a tiny encoder: it learns, can be loaded, and a broken run ends as an unbroken one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from keepstone.platform.errors import InvalidInput
from keepstone.platform.machine import Machine
from keepstone.retrieval.sentence_encoder import SentenceEncoder
from keepstone.training.recipes import recipe
from keepstone.training.recipes.base import Diverged, Paths, Stopped
from tests.training.notes import Notes, same, weights
from tests.training.tiny_models import SUBJECTS, questions, retrieval_dataset, tiny_encoder

pytestmark = pytest.mark.recipes
EMBEDDING = recipe("embedding")
FAST = {"epochs": 4, "batch_size": 8, "learning_rate": 3e-3, "save_every": 5, "merge": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture
def paths(base: Path, tmp_path: Path) -> Paths:
    return Paths(base=base, dataset=retrieval_dataset(tmp_path / "data"), work=tmp_path / "run")


def run(paths: Paths, notes: Notes, **values: Any) -> dict[str, float]:
    return EMBEDDING.train(EMBEDDING.configure(FAST | values), paths, notes).metrics


def test_it_learns_and_the_product_loads_it(paths: Paths) -> None:
    """The loss falls, and questions find their passages better than before."""
    metrics = run(paths, notes := Notes(), epochs=15)
    assert [point["step"] for point in notes.points] == list(range(1, 46))
    assert metrics["loss_last"] < 0.8 * metrics["loss_first"]
    assert found(paths.output) > found(paths.base)


def found(folder: Path) -> int:
    """Return how many questions have their own passage nearest."""
    encoder = SentenceEncoder(folder, version="tiny")
    passages = encoder.encode_documents([f"the book says that {subject} can be found here ." for subject in SUBJECTS])
    questions = np.stack([encoder.encode_query(f"what is known about {subject} ?") for subject in SUBJECTS])
    return int(((questions @ passages.T).argmax(axis=1) == np.arange(len(SUBJECTS))).sum())


def test_what_it_is_not_taught_stays_where_it_was(paths: Paths, tmp_path: Path) -> None:
    """Texts of no row of the dataset move less when the run is anchored, and it learns all the same."""
    free = Paths(base=paths.base, dataset=paths.dataset, work=tmp_path / "free")
    run(free, Notes(), epochs=15, anchor=0)
    metrics = run(paths, Notes(), epochs=15)
    assert moved(paths) < 0.5 * moved(free)
    assert metrics["loss_last"] < 0.8 * metrics["loss_first"]


def moved(paths: Paths) -> float:
    """Return by how much texts that no row holds moved, as a mean distance of angles."""
    texts = [" ".join(SUBJECTS[start : start + 4]) for start in range(20)]
    before, after = (
        SentenceEncoder(folder, version="tiny").encode_documents(texts) for folder in (paths.base, paths.output)
    )
    return float(1 - (before * after).sum(axis=1).mean())


@pytest.mark.parametrize("stop_at", [2, 5])
def test_a_broken_run_ends_as_an_unbroken_one(paths: Paths, tmp_path: Path, stop_at: int) -> None:
    """Stopped in the midst of an epoch, with dropout on: the final weights are the same to the last bit."""
    unbroken = Paths(base=paths.base, dataset=paths.dataset, work=tmp_path / "unbroken")
    run(unbroken, Notes())
    with pytest.raises(Stopped):
        run(paths, first := Notes(stop_at))
    run(paths, rest := Notes())
    assert [point["step"] for point in first.points + rest.points] == list(range(1, 13))
    assert same(weights(paths), weights(unbroken))


def test_half_a_checkpoint_is_passed_over(paths: Paths) -> None:
    """What a kill or a full disk left of a checkpoint is deleted, and the one before is taken."""
    with pytest.raises(Stopped):
        run(paths, Notes(3))
    wreck = paths.checkpoints / "checkpoint-9"
    wreck.mkdir()
    (wreck / "model.safetensors").write_bytes(b"half")
    run(paths, notes := Notes())
    assert notes.points[0]["step"] == 4
    assert not wreck.exists()


def test_the_weights_are_averaged_with_those_of_the_start(paths: Paths, tmp_path: Path) -> None:
    """With `merge` at a half, each weight is in the middle between start and end."""
    run(paths, Notes())
    halved = Paths(base=paths.base, dataset=paths.dataset, work=tmp_path / "halved")
    run(halved, Notes(), merge=0.5)
    start, end, middle = load_file(paths.base / "model.safetensors"), weights(paths), weights(halved)
    for name, tensor in middle.items():
        np.testing.assert_allclose(tensor, (start[name] + end[name]) / 2, atol=1e-6)


def test_a_loss_that_is_no_number_ends_the_run_at_once(paths: Paths, tmp_path: Path) -> None:
    """Nothing is learned from there on, and the error says what to try."""
    broken = tiny_encoder(tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    name = next(name for name in tensors if name.endswith("output.dense.weight"))
    tensors[name][0, 0] = float("inf")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Diverged, match=r"step 1.*learning_rate") as caught:
        run(Paths(base=broken, dataset=paths.dataset, work=paths.work), notes := Notes())
    assert notes.points == []
    assert caught.value.fix
    assert not paths.output.exists()


def test_dropout_is_only_for_training(paths: Paths) -> None:
    """The model is saved with the dropout that it came with."""
    run(paths, Notes(), dropout=0, epochs=1)
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (paths.base, paths.output))
    assert after["hidden_dropout_prob"] == before["hidden_dropout_prob"] != 0


def test_the_plan_counts_without_training(paths: Paths) -> None:
    """Rows, steps and tokens are those of the run."""
    machine = Machine(cores=2, memory_gib=8, free_disk_gib=10)
    plan = EMBEDDING.plan(EMBEDDING.configure(FAST), paths, machine)
    assert (plan.rows, plan.steps, plan.device, plan.warnings) == (len(SUBJECTS), 12, "cpu", ())
    assert plan.tokens == 4 * len(SUBJECTS) * (8 + 12 + 12)
    assert not paths.work.exists()


def test_too_little_to_learn_from_is_refused(paths: Paths, tmp_path: Path) -> None:
    """A few questions, or many about one passage, say so instead of making a worse model."""
    rows = questions()
    for few in (rows[:3], [row.model_copy(update={"positive": "one page ."}) for row in rows]):
        dataset = retrieval_dataset(tmp_path / "few", rows=few)
        with pytest.raises(InvalidInput, match="too few to learn from"):
            run(Paths(base=paths.base, dataset=dataset, work=paths.work), Notes())

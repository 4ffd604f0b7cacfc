"""What recipes read and are told: datasets by name, rows with faults, options with faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstone.platform.errors import InvalidInput, NotFound
from keepstone.training.recipes import NAMES, recipe
from keepstone.training.recipes.rows import chat_rows, retrieval_rows
from tests.training.tiny_models import SUBJECTS, retrieval_dataset


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_documented(name: str) -> None:
    """Each option of each recipe has a default and says what it means."""
    for option, info in recipe(name).config.model_fields.items():
        assert info.description, option
        assert not info.is_required(), option


def test_unknown_names_are_answered_with_the_nearest() -> None:
    """Of recipes, options and values."""
    with pytest.raises(NotFound, match="'embedding'"):
        recipe("embeding")
    with pytest.raises(InvalidInput, match="'epochs'"):
        recipe("embedding").configure({"epoch": 1})
    with pytest.raises(InvalidInput, match="batch_size"):
        recipe("sft").configure({"batch_size": "many"})
    with pytest.raises(InvalidInput, match="learning_rate"):
        recipe("embedding").configure({"learning_rate": "nan"})
    assert recipe("embedding").configure({"epochs": "0.5"}).model_dump()["epochs"] == 0.5


def test_nothing_is_learned_from_a_changed_dataset(tmp_path: Path) -> None:
    """Whichever file was changed, and whether in its middle or its end; nor from a folder without a card."""
    dataset = retrieval_dataset(tmp_path / "datasets")
    assert len(retrieval_rows(dataset)) == len(SUBJECTS)
    for name in ("retrieval/train.jsonl", "chat/train.jsonl", "card.json"):
        whole = (dataset / name).read_bytes()
        (dataset / name).write_bytes(whole + b"\n")
        with pytest.raises(InvalidInput, match="not as it was built"):
            retrieval_rows(dataset)
        (dataset / name).write_bytes(whole)
    (dataset / "card.json").unlink()
    with pytest.raises(InvalidInput, match="no dataset"):
        retrieval_rows(dataset)


def test_a_dataset_may_lack_a_kind_of_row(tmp_path: Path) -> None:
    """Where only answers were corrected, there are conversations alone."""
    with pytest.raises(InvalidInput, match="no conversations"):
        chat_rows(retrieval_dataset(tmp_path))

"""What recipes read and are told: datasets by name, rows with faults, options with faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keepstone.platform.errors import InvalidInput, NotFound
from keepstone.training.recipes import NAMES, recipe
from keepstone.training.recipes.rows import chat_rows, find_dataset, retrieval_rows


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


def test_a_dataset_is_found_by_its_name_or_its_whole_name(tmp_path: Path) -> None:
    """Nothing outside the folder of datasets is."""
    for name in ("handbook-00000001", "hand-00000002"):
        (tmp_path / "datasets" / name).mkdir(parents=True)
        (tmp_path / "datasets" / name / "card.json").write_text("{}")
    (tmp_path / "card.json").write_text("{}")
    assert find_dataset(tmp_path / "datasets", "hand").name == "hand-00000002"
    assert find_dataset(tmp_path / "datasets", "handbook-00000001").name == "handbook-00000001"
    for wrong in ("..", ".", "", "handbok", str(tmp_path)):
        with pytest.raises(NotFound):
            find_dataset(tmp_path / "datasets", wrong)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    """By file and number, whatever is wrong with it."""
    path = tmp_path / "retrieval" / "train.jsonl"
    path.parent.mkdir()
    good = json.dumps({"question": "q", "positive": "p", "negatives": [], "more": 1})
    for bad in (b"{", b"[]", b'{"question": "", "positive": "p"}', b'{"question": "q"}', b"\xff"):
        path.write_bytes(good.encode() + b"\n" + bad + b"\n")
        with pytest.raises(InvalidInput, match=r"Line 2 of retrieval/train\.jsonl"):
            retrieval_rows(tmp_path)
    path.write_text(good + "\n\n" + good)
    assert [row.question for row in retrieval_rows(tmp_path)] == ["q", "q"]


def test_missing_rows_and_missing_answers_are_named(tmp_path: Path) -> None:
    """A dataset may lack a kind of row; a conversation may not lack its answer."""
    with pytest.raises(InvalidInput, match="no rows"):
        retrieval_rows(tmp_path)
    (tmp_path / "chat").mkdir()
    turns = [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    (tmp_path / "chat" / "train.jsonl").write_text(json.dumps({"messages": turns}))
    with pytest.raises(InvalidInput, match="Row 1"):
        chat_rows(tmp_path)

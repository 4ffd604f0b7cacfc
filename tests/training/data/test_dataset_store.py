"""A dataset on the disk is whole or not there, and says when it was changed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from keepstone.platform.errors import InvalidInput, NotFound, StorageFull
from keepstone.training.data import ChatRow, Datasets
from keepstone.training.data.rows import read_rows


def test_it_is_found_by_name_and_by_id(bench: Any) -> None:
    older, newer = bench.build(name="found", seed=1), bench.build(name="found", seed=2)
    assert bench.datasets.get("found").id == newer.id
    assert bench.datasets.get(older.id).card.seed == 1
    with pytest.raises(NotFound, match="fuond") as caught:
        bench.datasets.get("fuond")
    assert "found" in (caught.value.fix or "")


def test_the_same_dataset_again_is_one(bench: Any) -> None:
    first = bench.build(name="once", seed=5)
    second = bench.build(name="once", seed=5)
    assert first.id == second.id
    assert second.built.job != first.built.job
    assert [each.id for each in bench.datasets.list()].count(first.id) == 1


def test_a_changed_file_is_noticed(bench: Any) -> None:
    dataset = bench.build(name="changed", seed=6)
    dataset.verify()
    path = dataset.folder / "retrieval" / "train.jsonl"
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(InvalidInput, match=r"retrieval/train\.jsonl"):
        dataset.verify()
    with pytest.raises(InvalidInput, match=r"Line \d+ of retrieval/train\.jsonl"):
        list(dataset.retrieval("train"))


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    """By file and number, whatever is wrong with it."""
    good = '{"role": "user", "content": "b"}, {"role": "assistant", "content": "a"}'
    row = '{"id": "1", "messages": [%s], "document": "d", "source": "feedback"}'
    path = tmp_path / "chat" / "train.jsonl"
    path.parent.mkdir()
    for bad in (b"{", b"[]", (row % good).encode()[:-3] + b"\xff", (row % "").encode(), (row % good[:32]).encode()):
        path.write_bytes((row % good).encode() + b"\n" + bad + b"\n")
        with pytest.raises(InvalidInput, match=r"Line 2 of chat/train\.jsonl"):
            list(read_rows(path, ChatRow))


def test_a_full_disk_leaves_no_half_dataset(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = bench.build(name="full", seed=9)
    files = {name: (dataset.folder / name).read_bytes() for name in dataset.card.files}
    bench.datasets.remove(dataset)
    before = set(bench.datasets.folder.iterdir())

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            bench.datasets.add("full", files, dataset.card, "job_x")
    assert set(bench.datasets.folder.iterdir()) == before
    assert bench.datasets.add("full", files, dataset.card, "job_x").id == dataset.id


def test_what_is_no_dataset_is_passed_over(tmp_path: Path) -> None:
    assert Datasets(tmp_path / "none").list() == []
    (tmp_path / "broken-01234567").mkdir()
    (tmp_path / "broken-01234567" / "card.json").write_text("{")
    (tmp_path / "empty-01234567").mkdir()
    (tmp_path / "file-01234567").write_text("")
    assert Datasets(tmp_path).list() == []

"""What `ScanIndex` does besides the contract of `VectorIndex`: its files, and what codes miss."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from keepstone.platform.errors import StorageFull
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.indexes.base import UNBUILT, Position
from keepstone.retrieval.indexes.codes import BinaryCodes, Codes, Int8Codes
from keepstone.retrieval.indexes.scan import ScanIndex

_DIMENSION = 16


def _vectors(ids: range, seed: int = 0) -> dict[int, NDArray[np.float32]]:
    rows = np.random.default_rng(seed).normal(size=(len(ids), _DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return dict(zip(ids, rows, strict=True))


def _scan(folder: Path, codes: Codes | None = None) -> ScanIndex:
    return ScanIndex(folder, dimension=_DIMENSION, encoder="hash-16@1", codes=codes or Int8Codes(_DIMENSION))


class TestFiles:
    @pytest.mark.parametrize(
        "change", [{"encoder": "other@2"}, {"dimension": 17}, {"format": 99}, {"ids": "../../x"}, {"ids": 7}]
    )
    def test_a_foreign_snapshot_counts_as_none(self, tmp_path: Path, change: dict[str, object]) -> None:
        index = _scan(tmp_path)
        index.apply([], _vectors(range(10)), Position(1))
        index.save()
        sidecar = tmp_path / "scan.json"
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | change))
        assert _scan(tmp_path).position == UNBUILT

    @pytest.mark.parametrize("damage", [lambda file: file[:-1], lambda file: b"\xff" * len(file)])
    def test_damaged_vectors_count_as_none(self, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
        index = _scan(tmp_path)
        index.apply([], _vectors(range(100)), Position(1))
        index.save()
        file = tmp_path / "scan.f32"
        file.write_bytes(damage(file.read_bytes()))
        assert _scan(tmp_path).position == UNBUILT

    def test_a_kill_between_two_snapshots_loses_nothing(self, tmp_path: Path) -> None:
        """Rows are written in place, so those of removed vectors hold others by then."""
        vectors = _vectors(range(200))
        index = _scan(tmp_path)
        index.apply([], {each: vectors[each] for each in range(100)}, Position(1))
        index.save()
        later = (range(50), {each: vectors[each] for each in range(100, 200)}, Position(2))
        index.apply(*later)
        again = _scan(tmp_path)
        assert again.position == Position(1)
        again.apply(*later)
        assert again.ids().tolist() == list(range(50, 200))
        np.testing.assert_array_equal(again.vectors(range(50, 200)), [vectors[each] for each in range(50, 200)])

    def test_a_full_disk_is_said_and_leaves_the_old_snapshot(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index = _scan(tmp_path)
        index.apply([], _vectors(range(10)), Position(1))
        index.save()

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StorageFull):
            index.apply([], _vectors(range(10, 20)), Position(2))
        monkeypatch.undo()
        assert _scan(tmp_path).ids().tolist() == list(range(10))

    def test_codes_of_another_kind_are_made_from_the_same_files(self, tmp_path: Path) -> None:
        index = _scan(tmp_path)
        vectors = _vectors(range(50))
        index.apply([], vectors, Position(1))
        index.save()
        assert _scan(tmp_path, BinaryCodes(_DIMENSION)).search(vectors[7], 1).ids.tolist() == [7]

    @pytest.mark.parametrize("codes", [Int8Codes, BinaryCodes])
    def test_hardly_any_neighbour_is_missed(self, tmp_path: Path, codes: Callable[[int], Codes]) -> None:
        """Of the ten nearest by full vectors, 99 of 100 are found."""
        index = ScanIndex(tmp_path, dimension=128, encoder="hash-128", codes=codes(128))
        encoder, random = HashEncoder(128), np.random.default_rng(0)
        texts = [" ".join(map(str, random.integers(60, size=12))) for _ in range(3000)]
        index.apply([], dict(enumerate(encoder.encode_documents(texts))), Position(1))
        found = 0
        for text in texts[:30]:
            question = encoder.encode_query(text)
            best = index.search(question, 10, exact=True).ids.tolist()
            found += len(set(best) & set(index.search(question, 10).ids.tolist()))
        assert found >= 297

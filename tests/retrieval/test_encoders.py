"""Encoders by version: the default for all, others as collections ask for them, few of them in memory."""

from __future__ import annotations

import pytest

from keepstone.platform.errors import ModelMissing
from keepstone.retrieval.encoder import Encoder, HashEncoder
from keepstone.retrieval.encoders import Encoders


def test_the_default_needs_no_loading() -> None:
    default = HashEncoder(16)
    assert Encoders(default).get(default.version) is default


def test_others_are_loaded_once_and_those_used_last_are_kept() -> None:
    loaded: list[str] = []

    def load(version: str) -> Encoder:
        loaded.append(version)
        return HashEncoder(int(version.removeprefix("hash-")))

    encoders = Encoders(HashEncoder(8), load, kept=2)
    for version in ("hash-16", "hash-24", "hash-16", "hash-32", "hash-16", "hash-24"):
        assert encoders.get(version).version == version
    assert loaded == ["hash-16", "hash-24", "hash-32", "hash-24"]


def test_one_that_is_gone_is_named_with_the_way_back() -> None:
    with pytest.raises(ModelMissing, match="'tuned@1'") as caught:
        Encoders(HashEncoder(8)).get("tuned@1")
    assert "keepstone models rollback" in str(caught.value.fix)


def test_a_version_must_be_named_in_full() -> None:
    """What begins to spell a version would put vectors under a name that nobody looks for."""
    encoders = Encoders(HashEncoder(8), lambda _: HashEncoder(16))
    with pytest.raises(ModelMissing) as caught:
        encoders.get("hash")
    assert caught.value.fix == "Name it in full: hash-16"

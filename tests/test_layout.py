"""The layout of the tree: what keeps the namespace package, the standard library and a fresh clone working."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("platform", "retrieval", "agents", "training", "ui")
FOLDERS = {*FLOORS, "benchmarks", "constraints", "deploy", "docs", "examples", "scripts", "tests"}
NOT_OURS = {"__pycache__", "build", "dist", "scratch", "node_modules"}
BINARY = {".pdf", ".docx", ".png", ".safetensors", ".so", ".pyc"}
LONGEST_MODULE = 500


def folders() -> set[str]:
    """Return the names of the top-level folders that belong to the project."""
    found = (path.name for path in ROOT.iterdir() if path.is_dir() and any(path.rglob("*")))
    return {name for name in found if not name.startswith(".")} - NOT_OURS


def files() -> Iterator[Path]:
    """Yield every file of the project."""
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in sorted({*FOLDERS, ".ci"} & {path.name for path in ROOT.iterdir()}):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and not NOT_OURS & set(path.relative_to(ROOT).parts):
                yield path


def modules() -> list[Path]:
    """Return every Python file outside tests/."""
    return [path for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] != "tests"]


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_is_a_part_of_the_namespace_package(floor: str) -> None:
    """An `__init__.py` too high would hide the other floors, or the standard library's `platform`."""
    assert not (ROOT / floor / "__init__.py").exists()
    assert not (ROOT / floor / "keepstone" / "__init__.py").exists()
    assert (ROOT / floor / "keepstone" / floor / "__init__.py").exists()
    assert (ROOT / floor / "keepstone" / floor / "py.typed").exists()


def test_tests_hold_no_packages() -> None:
    """`tests/platform/__init__.py` would replace the standard library's `platform` under pytest."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_platform_is_the_standard_library() -> None:
    """Our folder `platform` must not be imported in place of the module that everybody uses."""
    assert Path(platform.__file__).parent == Path(sys.modules["os"].__file__ or "").parent
    assert platform.python_version()


def test_the_top_level_is_as_designed() -> None:
    """A new top-level folder is a decision: name it here and in README.md."""
    assert folders() <= FOLDERS


def test_tests_mirror_the_tree() -> None:
    """Whoever looks for the tests of a folder finds them under the same name."""
    found = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - NOT_OURS
    assert found <= {*FLOORS, "benchmarks", "scripts", "examples", "e2e"}


def test_modules_are_short_enough_to_read() -> None:
    """A module over 500 lines holds more than one idea; a training recipe, read from top to bottom, may be longer."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules()
        if "recipes" not in path.parts and (lines := path.read_text(encoding="utf-8").count("\n")) > LONGEST_MODULE
    }
    assert not long


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    """The mirror is chosen by the machine; an address in the repository breaks every machine that has another one."""
    hosts = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.", "deb." + "debian.org"]
    paths = [f"/{name}/" for name in ("root", "work")]
    torch_index = "download." + "pytorch.org"
    wrong = []
    for path in files():
        if path.suffix in BINARY or path.stat().st_size > 5_000_000:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        forbidden = [*hosts, *paths, *([] if path.name == "pytorch_index.py" else [torch_index])]
        wrong += [f"{path.relative_to(ROOT)}: {word}" for word in forbidden if word in text]
    assert not wrong

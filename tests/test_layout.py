"""The house stands as docs/architecture.md draws it: a file in the wrong place breaks imports in ways hard to see."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("platform", "retrieval", "agents", "training", "ui")
MAX_LINES = 500


def packages() -> list[Path]:
    """Return every folder below the floors that holds Python files."""
    folders = {path.parent for floor in FLOORS for path in (ROOT / floor / "keepstone" / floor).rglob("*.py")}
    return sorted(folder for folder in folders if "__pycache__" not in folder.parts)


def modules() -> list[Path]:
    """Return every Python file of the product and of its tests."""
    return sorted(path for top in (*FLOORS, "tests", "benchmarks", "examples") for path in (ROOT / top).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("floor", FLOORS)
def test_namespace_folders_hold_no_module(floor: str) -> None:
    """A module in `platform/` shadows the standard library; one in `platform/keepstone/` hides the other floors."""
    for folder in (ROOT / floor, ROOT / floor / "keepstone"):
        assert list(folder.glob("*.py")) == []
    assert [path.name for path in (ROOT / floor / "keepstone").iterdir() if path.is_dir()] == [floor]
    assert (ROOT / floor / "keepstone" / floor / "py.typed").exists()


def test_tests_are_no_packages() -> None:
    """With `tests/platform/__init__.py` pytest would replace the standard library's module `platform`."""
    assert not (ROOT / "__init__.py").exists()
    assert [name(path) for path in (ROOT / "tests").rglob("__init__.py")] == []


def test_platform_is_the_standard_librarys() -> None:
    """From the root, where `platform/` is a folder beside it, as in a program that is started there."""
    code = "import platform, sys; sys.exit(not platform.python_version())"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    import platform

    assert platform.python_version()


@pytest.mark.parametrize("folder", packages(), ids=name)
def test_every_package_says_what_it_is(folder: Path) -> None:
    """In a docstring whose first line stands for itself."""
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    first = docstring.partition("\n")[0]
    assert first.endswith("."), f"{name(folder)}/__init__.py lacks its sentence"


def test_modules_are_short() -> None:
    """One idea each; what grows beyond this is two things."""
    sizes = {name(path): len(path.read_text().splitlines()) for path in modules()}
    assert {path: lines for path, lines in sizes.items() if lines > MAX_LINES} == {}

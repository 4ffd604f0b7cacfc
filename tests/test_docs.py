"""The documentation says what is: commands exist, folders and settings are named, links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi.routing import APIRoute

from keepstone.platform.settings import Settings, setting_names

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("platform", "retrieval", "agents", "training", "ui")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """Return scripts/reference.py, which makes the generated pages."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_blocks(page: Path, language: str) -> list[str]:
    """Return the fenced code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_every_make_target_has_help() -> None:
    """`make` alone is how a newcomer finds the commands."""
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {line.split()[0] for line in shown.splitlines()} == TARGETS
    phony = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split())
    assert phony == TARGETS
    assert {"up", "test", "lint", "types", "format", "smoke", "bench", "clean"} <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_commands_in_the_docs_exist(page: Path) -> None:
    """A command that is not there is the first thing a newcomer meets."""
    text = page.read_text()
    quoted = re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z-]+)", text)
    listed = [name for block in code_blocks(page, "sh") for name in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)]
    assert {*quoted, *listed} <= TARGETS


def test_make_bench_runs_every_benchmark() -> None:
    """`make bench` must neither leave one out nor run a helper as if it were one."""
    planned = subprocess.run(["make", "-n", "bench"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    modules = {path.stem: path.read_text() for path in (ROOT / "benchmarks").glob("*.py")}
    runs = re.compile(r"^    raise SystemExit\(main\(\"", re.MULTILINE)
    measuring = {name for name, text in modules.items() if runs.search(text)}
    assert set(re.findall(r"-m benchmarks\.(\w+) --json", planned)) == measuring


def test_readme_names_every_folder() -> None:
    """The tree in README.md is complete, and names nothing that is not there."""
    named = set(re.findall(r"^\| `([^`/]+)/?` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    there = {path.name for path in folders if any(each.is_file() for each in path.rglob("*"))}
    generated = {"build", "dist", "scratch", "node_modules", "__pycache__"}
    assert there - generated <= named
    assert named <= {path.name for path in ROOT.iterdir()}


def test_every_floor_is_described() -> None:
    """The packages of each floor stand in the architecture with their folders."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    for floor in FLOORS:
        assert f"`keepstone.{floor}`" in text


def test_every_table_is_described() -> None:
    """Whoever opens the database finds in the architecture what each table is."""
    from keepstone.platform.database.tables import Base

    text = (ROOT / "docs" / "architecture.md").read_text()
    assert {name for name in Base.metadata.tables if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file of the repository."""
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_pages_from_code_are_fresh(reference: ModuleType) -> None:
    """`make docs` would change nothing."""
    stale = [name for name, make in reference.PAGES.items() if (ROOT / "docs" / name).read_text() != make()]
    assert not stale, f"run `make docs`: {stale}"


def test_every_setting_is_documented() -> None:
    """Each setting has a docstring, and stands in docs/configuration.md with it."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [name for name in setting_names() if f"| `{name}` |" not in text] == []
    assert not re.findall(r"^\| `[^|]*\|[^|]*\|[^|]*\|\s*\|$", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_the_docs_exist(page: Path) -> None:
    """A `keepstone.toml` copied out of the docs is accepted, and settings named in the text exist."""
    for block in code_blocks(page, "toml"):
        Settings(**tomllib.loads(block))
    sections = "|".join(sorted({name.partition(".")[0] for name in setting_names() if "." in name}))
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)(?: = [^`]*)?`", page.read_text()))
    assert named <= set(setting_names())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_docs_is_python(page: Path) -> None:
    """Code in the docs can be copied."""
    for block in code_blocks(page, "python"):
        ast.parse(block)
    for block in code_blocks(page, "json"):
        json.loads(block)


def test_every_route_is_described() -> None:
    """docs/api.md names each route of the API with its method, and none that is not there."""
    from keepstone.ui.http import app

    routers = [*(subject.router for subject in app._SUBJECTS), app.login.links]
    routes = {
        (method, re.sub(r":path}", "}", route.path))
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods
    }
    text = (ROOT / "docs" / "api.md").read_text()
    named = set(re.findall(r"`(GET|POST|PUT|DELETE) (/[^`?]*)`", text))
    assert named - {("GET", "/openapi.json")} == routes


def test_keepstone_commands_exist(commands: dict[str, set[str]]) -> None:
    """Every `keepstone ...` that a page or an error's fix names is a command, with its options."""
    sources = [path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    wrong = []
    for path in [*PAGES, ROOT / "Makefile", *sources]:
        text = path.read_text()
        lines = [line for block in code_blocks(path, "sh") for line in block.splitlines()]
        quoted = [*re.findall(r"`(keepstone [^`]+)`", text), *re.findall(r"\$\((KEEPSTONE\) .*)", text)]
        for line in [*lines, *quoted]:
            words = line.split("#")[0].replace("KEEPSTONE)", "keepstone").split()
            words = list(itertools.dropwhile(lambda word: re.fullmatch(r"[A-Z_]+=.*", word), words))
            if words[:1] == ["keepstone"] and not _is_command(words[1:], commands):
                wrong.append(f"{path.relative_to(ROOT)}: {line}")
    assert not wrong


def _is_command(words: list[str], commands: dict[str, set[str]]) -> bool:
    """Tell whether the line begins with a command and has only its options; `a|b` names two commands."""
    if not words or words[0].startswith("-"):
        return True
    for first in words[0].split("|"):
        for name in (f"{first} {words[1]}" if len(words) > 1 else "", first):
            if name in commands:
                options = {word.partition("=")[0] for word in words if word.startswith("-") and len(word) > 1}
                if not options <= commands[name]:
                    return False
                break
        else:
            return False
    return True


@pytest.fixture(scope="module")
def commands() -> dict[str, set[str]]:
    """Return every command of the command line, groups included, with its options."""
    from typer.main import get_command

    from keepstone.ui.cli.main import app

    found: dict[str, set[str]] = {}

    def walk(group: Any, path: str) -> None:
        for name, command in group.commands.items():
            found[f"{path}{name}"] = {"--json", "--help", "-h"}.union(
                *(each.opts + each.secondary_opts for each in command.params)
            )
            if hasattr(command, "commands"):
                walk(command, f"{path}{name} ")

    walk(get_command(app), "")
    return found


def test_contributing_stays_short() -> None:
    """Nobody reads more than a page before a first change."""
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) < 80

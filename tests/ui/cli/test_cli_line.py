"""The command line itself: help, --json, errors and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from keepstone.ui.cli import output
from tests.ui.cli.conftest import Keepstone, parsed


def test_help_imports_nothing_heavy() -> None:
    """`keepstone --help` must answer at once: neither torch nor pydantic nor httpx may be loaded for it."""
    script = """
import sys
from keepstone.ui.cli import main
try:
    main.app(["--help"])
except SystemExit as end:
    assert end.code == 0
heavy = {"torch", "transformers", "sqlalchemy", "pydantic", "httpx", "fastapi", "gradio", "dbos"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ask your own documents" in done.stdout


COMMANDS = [
    "up", "down", "status", "login", "doctor", "engine", "ingest", "search", "ask", "chat", "collections", "documents",
    "jobs", "models", "keys", "db", "version",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(keepstone: Keepstone, command: str) -> None:
    result = keepstone(command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_json_works_before_and_after_the_command(keepstone: Keepstone) -> None:
    for line in (("--json", "version"), ("version", "--json")):
        assert parsed(keepstone(*line)) == {"version": "0.1.0"}
    assert keepstone("version").stdout == "0.1.0\n"


def test_json_behind_two_dashes_is_an_argument(keepstone: Keepstone) -> None:
    result = keepstone("search", "--collection", "none", "--", "--json")
    assert "No collection 'none'" in result.stderr


def test_a_wrong_command_line_is_exit_code_2(keepstone: Keepstone) -> None:
    for line in (("serch",), ("search",), ("search", "x", "-k", "0"), ("search", "x", "--nonsense")):
        assert keepstone(*line).exit_code == 2, line
        told = keepstone(*line, "--json")
        assert told.exit_code == 2
        assert told.stdout == ""
        assert json.loads(told.stderr)["error"]["code"] == "usage"


def test_an_error_names_its_fix_on_stderr_and_is_exit_code_1(keepstone: Keepstone) -> None:
    result = keepstone("ask", "What?", "-c", "manual")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Keepstone is not running" in result.stderr
    assert "keepstone up" in result.stderr
    told = keepstone("ask", "What?", "-c", "manual", "--json")
    assert told.exit_code == 1
    assert json.loads(told.stderr) == {
        "error": {
            "message": "Keepstone is not running",
            "code": "engine_unavailable",
            "fix": "Start it: `keepstone up`",
        }
    }


def test_a_wrong_setting_is_told_by_every_command(keepstone: Keepstone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTONE_APP__PROT", "8080")
    for line in (("status",), ("collections", "list"), ("doctor",), ("models", "list")):
        result = keepstone(*line)
        assert result.exit_code == 1
        assert "KEEPSTONE_APP__PORT" in result.output


@pytest.mark.parametrize("line", [("login",), ("chat", "-c", "x"), ("engine", "restart")])
def test_what_needs_the_running_app_names_the_command(keepstone: Keepstone, line: tuple[str, ...]) -> None:
    result = keepstone(*line)
    assert result.exit_code == 1
    assert "keepstone up" in result.stderr


def test_text_cannot_drive_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31mred\u202etxt.exe\r\n\ttab"
    cleaned = output.clean(hostile)
    assert not set(cleaned) & set("\x1b\x07\x9b\u202e\r")
    assert cleaned.endswith("\n\ttab")


def test_ages_and_sizes_are_for_people() -> None:
    assert output.size(0) == "0 B"
    assert output.size(1536) == "2 KiB"
    assert output.size(3 * 2**30) == "3.0 GiB"
    assert output.ago(None) == ""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - 7200))
    assert output.ago(moment) == "2 h ago"

"""The scripts that a stranger meets first: they run on a bare Python, name what is missing, and mend interruptions."""

from __future__ import annotations

import ast
import http.server
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from keepstone.platform import pytorch_index

ROOT = Path(__file__).resolve().parent.parent.parent
BARE = ["scripts/bootstrap.py", "scripts/debian.py", "platform/keepstone/platform/pytorch_index.py"]


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return scripts/bootstrap.py as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", BARE)
def test_it_needs_nothing_but_an_old_python(script: str) -> None:
    """These run before anything is installed; on a Python too old they must still say so, instead of a syntax error."""
    tree = ast.parse((ROOT / script).read_text(), feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - {"debian"} <= set(sys.stdlib_module_names)


def test_an_old_python_is_named_with_the_fix(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.9 must be refused with the package to install and the variable to set."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    with pytest.raises(SystemExit, match=r"3\.11 or newer is needed.*3\.9\.2") as refused:
        bootstrap.check_python()
    assert "apt-get install python3" in str(refused.value)
    assert "make PYTHON=" in str(refused.value)


def test_a_missing_compiler_is_named_with_the_fix(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without g++ or Python's headers hnswlib fails deep inside pip; we say before what to install."""
    (tmp_path / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(SystemExit):
        bootstrap.check_compiler()
    assert "apt-get install g++ python3-dev" in capfd.readouterr().err


def test_what_was_half_installed_is_installed_again(bootstrap: ModuleType, tmp_path: Path) -> None:
    """A package without its RECORD was being installed when pip was stopped: pip must not take it for whole."""
    for name in ("whole-1.0.dist-info", "half-2.0.dist-info"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "METADATA").touch()
    (tmp_path / "whole-1.0.dist-info" / "RECORD").touch()
    bootstrap.forget_half_installed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["whole-1.0.dist-info"]


def test_a_failed_command_says_how_to_go_on(bootstrap: ModuleType) -> None:
    """After a network error the same command is the fix."""
    with pytest.raises(SystemExit, match="Run the same command again"):
        bootstrap.run([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Serve a package index on loopback in place of PyTorch's; `status` is what it answers."""
    answer = SimpleNamespace(status=200)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(answer.status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Stay silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(pytorch_index, "CPU_INDEX", f"http://127.0.0.1:{server.server_port}/whl/cpu")
    yield answer
    server.shutdown()
    server.server_close()


def test_the_cpu_index_is_used_where_it_answers(index: SimpleNamespace) -> None:
    """Without it pip would fetch gigabytes of CUDA libraries; where it is out of reach the mirror must do."""
    assert pytorch_index.pip_arguments() == ["--extra-index-url", pytorch_index.CPU_INDEX]
    index.status = 404
    assert pytorch_index.pip_arguments() == []


def test_an_index_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with nothing but a package mirror goes on without it."""
    monkeypatch.setattr(pytorch_index, "CPU_INDEX", "http://127.0.0.1:9/whl/cpu")
    assert not pytorch_index.reachable(timeout=2)


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_pins_are_plain_and_satisfied_by_either_build(name: str) -> None:
    """`torch==2.13.0` admits `2.13.0+cpu` too; a local version in the pin would admit one build only."""
    lines = (ROOT / "constraints" / f"{name}.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {"torch", "fastapi", "hnswlib", "pytest"} <= pins.keys()
    assert not [version for version in pins.values() if not version.replace(".", "").isalnum()]


def test_pins_of_both_machines_agree() -> None:
    """What is tested on a CPU is what a GPU machine installs."""
    cpu, cuda = (
        [line for line in (ROOT / "constraints" / f"{name}.txt").read_text().splitlines() if "==" in line]
        for name in ("cpu", "cuda")
    )
    assert cpu == cuda


def test_the_helper_of_the_tests_never_fails(tmp_path: Path) -> None:
    """`make test` must go on without a browser or tesseract: their tests skip with the reason."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "debian.py"), "tests"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "apt-get install chromium" in done.stderr
    assert "apt-get install tesseract-ocr" in done.stderr

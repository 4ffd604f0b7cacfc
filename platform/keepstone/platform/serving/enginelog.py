"""An engine's log: one file a start, the newest is `logs/engine.log`, five are kept; and what a death in it means."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import IO

from keepstone.platform.errors import storage_errors
from keepstone.platform.serving.places import PLACES

_KEPT = 5
_TAIL_BYTES = 64 * 1024
_ERROR = re.compile(r"\b(\w*(?:Error|Exception|Exit)\b.*)")
_CAUSES = (
    ("KV cache is needed", "Lower engine.max_model_len, or raise engine.kv_cache_gib or engine.gpu_memory_utilization"),
    ("No available memory for the cache", "Raise engine.gpu_memory_utilization, or serve a smaller model"),
    ("CUDA out of memory", "Lower engine.gpu_memory_utilization, or serve a smaller model"),
    ("is greater than the derived max_model_len", "Lower engine.max_model_len to what the model takes"),
    ("InvalidCxxCompiler", "Run `apt-get install g++`, or set engine.compile to false"),
    ("unrecognized arguments", "Mend engine.extra_args"),
    ("does not support LoRA", "Set engine.max_lora_rank to 0: this model takes no adapters"),
    ("No module named", "Run `keepstone engine install --force`"),
    ("No space left on device", "Free some space on the disk"),
)


def engine_log(home: Path, place: str = PLACES[0]) -> Path:
    """Return where the newest log of the engine in a place is."""
    return home / "logs" / f"{place}.log"


def newest_log(home: Path) -> Path:
    """Return the log of the engine that was written to last."""
    logs = [log for place in PLACES if (log := engine_log(home, place)).exists()]
    return max(logs, key=lambda log: log.stat().st_mtime, default=engine_log(home))


def open_log(home: Path, place: str = PLACES[0]) -> IO[bytes]:
    """Shift the older logs by one (`engine.1.log` is the one before) and open a new one.

    Raises:
        StorageFull: the disk has no room for it.
    """
    newest = engine_log(home, place)
    with storage_errors("opening the engine's log"):
        newest.parent.mkdir(parents=True, exist_ok=True)
        for number in range(_KEPT - 1, 0, -1):
            older = newest.with_name(f"{place}.{number}.log")
            younger = newest.with_name(f"{place}.{number - 1}.log") if number > 1 else newest
            if younger.exists():
                younger.replace(older)
        stream = newest.open("wb")
    newest.chmod(0o600)
    return stream


def explain_death(log: Path, code: int | None) -> tuple[str, str]:
    """Return why the engine died (the last error in its log, else its last lines), and what mends it."""
    lines = _tail(log)
    text = "\n".join(lines)
    fix = next((fix for sign, fix in _CAUSES if sign in text), f"Its log is {log}")
    loud = [line for line in lines if " INFO " not in line and " WARNING " not in line]
    errors = [found[1] for line in loud if (found := _ERROR.search(line))]
    said = errors[-1] if errors else " | ".join(lines[-3:])
    ended = "It stopped answering" if code is None else f"It ended with exit code {code}"
    if code == 128 + signal.SIGKILL:
        return "It was killed: by hand, or because the memory ran out", fix
    return f"{ended}{f': {said[:400]}' if said else ''}".rstrip("."), fix


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]

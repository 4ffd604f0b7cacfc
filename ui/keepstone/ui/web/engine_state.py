"""The state of the language model's server, in words for people."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from keepstone.platform.database.tables import utc_now
from keepstone.platform.serving.absent import AbsentEngine
from keepstone.platform.serving.supervisor import EngineStatus
from keepstone.ui.runtime import Runtime


@dataclass(frozen=True, slots=True)
class EngineState:
    """How the engine is."""

    state: Literal["ready", "starting", "down", "off"]
    message: str
    fix: str | None = None


_READY: Final = EngineState("ready", "The model is ready")
_PATIENCE_S: Final = 3.0


async def engine_state(runtime: Runtime) -> EngineState:
    """Return how the engine is now."""
    if runtime.supervisor is not None:
        return managed_state(runtime.supervisor.status(), utc_now())
    if runtime.settings.engine.mode == "off":
        return EngineState("off", "The model is switched off", 'Set mode = "managed" under [engine] in keepstone.toml')
    if isinstance(runtime.engine, AbsentEngine):
        return EngineState("down", runtime.engine.reason.message, runtime.engine.reason.fix)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            ready = await runtime.engine.ready()
    except TimeoutError:
        ready = False
    if ready:
        return _READY
    fix = f"Look after the server at {runtime.settings.engine.url}, or change engine.url in keepstone.toml"
    return EngineState("down", "The model's server does not answer", fix)


def managed_state(status: EngineStatus, now: datetime) -> EngineState:
    """Return what the supervisor's status means to a person who wants an answer."""
    if status.state == "ready":
        return _READY
    if status.state in ("starting", "restarting"):
        seconds = max(0, int((now - status.since).total_seconds()))
        again = " again" if status.state == "restarting" else ""
        return EngineState("starting", f"The model is starting{again} ({seconds} s)…")
    return EngineState("down", status.message, status.fix or f"The log is {status.log_path}")

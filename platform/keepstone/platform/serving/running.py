"""One engine with all that it takes to watch it, to give it adapters and to ask it.

running = make_engine(launch, model, home=home, place=PLACES[0], patience=Patience())
running.supervisor.start()
served = running.serve(LanguageModel(model))
warm_up(served)
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from keepstone.platform.models.registry import InstalledModel
from keepstone.platform.serving.adapters import Adapters
from keepstone.platform.serving.engine import ChatRequest, Message
from keepstone.platform.serving.live import LanguageModel, Served
from keepstone.platform.serving.supervisor import EngineSupervisor, Patience
from keepstone.platform.serving.vllm import Launch

_WARM_UP: Final = ChatRequest(messages=(Message("user", "Say hello."),), max_tokens=8)


@dataclass(frozen=True, slots=True, eq=False)
class RunningEngine:
    """One engine."""

    base: InstalledModel
    place: str
    launch: Launch
    adapters: Adapters
    supervisor: EngineSupervisor

    def serve(self, model: LanguageModel) -> Served:
        """Return the model as this engine serves it, once it has the adapter."""
        explain, log = self.supervisor.explain, self.supervisor.status().log_path
        adapter = model.adapter.reference if model.adapter else None
        return Served(model, partial(self.launch.client, explain, log=log, adapter=adapter))


def make_engine(launch: Launch, base: InstalledModel, *, home: Path, place: str, patience: Patience) -> RunningEngine:
    """Return an engine that is not started yet; whenever it starts, it loads its adapters before it counts as ready."""
    adapters = Adapters(launch)
    supervisor = EngineSupervisor(launch, home=home, patience=patience, place=place, on_answer=adapters.load_wanted)
    return RunningEngine(base, place, launch, adapters, supervisor)


def warm_up(served: Served) -> None:
    """Have a model answer once, so that the first person to ask does not wait for what it does at first.

    Raises:
        EngineUnavailable, InvalidInput: it does not answer.
    """
    asyncio.run(_ask(served))


async def _ask(served: Served) -> None:
    engine = served.connect()
    try:
        await engine.chat(_WARM_UP)
    finally:
        await engine.close()


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

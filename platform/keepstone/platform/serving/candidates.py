"""Candidates: models that answer for being judged, while everybody else is still answered by the live one.

async with candidates.serve("smollm2-135m-instruct-sft") as engine:
reply = await engine.chat(request)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CancelScope
from anyio.to_thread import run_sync

from keepstone.platform.errors import Conflict, InvalidInput, ModelMissing
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.platform.serving.engine import Engine
from keepstone.platform.serving.handover import Engines
from keepstone.platform.serving.live import LanguageModel


class Candidates:
    """Serves language models of the registry beside the live one.

    Args:
        registry: the models.
        engines: of this process; None where Keepstone does not run the engine itself.
    """

    def __init__(self, registry: ModelRegistry, engines: Engines | None) -> None:
        self._registry = registry
        self._engines = engines

    @property
    def available(self) -> bool:
        """Whether this process runs the engine."""
        return self._engines is not None and self._engines.started

    @property
    def engines(self) -> Engines:
        """The engines that serve them.

        Raises:
            Conflict: Keepstone does not run the engine.
        """
        if self._engines is None:
            raise Conflict(
                "Keepstone does not run the language model's engine here, so it cannot give it another model",
                fix="Set engine.mode to 'managed', and run `keepstone engine install` where there is none",
            )
        return self._engines

    @asynccontextmanager
    async def serve(self, reference: str) -> AsyncIterator[Engine]:
        """Have a model answer, for the event loop that runs.

        An adapter is loaded into the running engine, another model gets a second one. That stays for some minutes
        afterwards, for the next batch of questions or for being promoted.

        Raises:
            ModelMissing: there is no such model.
            InvalidInput: it is no language model, or an adapter for another one.
            LimitExceeded, EngineUnavailable, Conflict: as for `Engines.prepared`.
        """
        model = language_model(self._registry, self._registry.get(reference), self.engines.live.served.model.base)
        holding = self.engines.prepared(model)
        served = await run_sync(holding.__enter__)
        engine = served.connect()
        try:
            yield engine
        finally:
            with CancelScope(shield=True):
                await engine.close()
                await run_sync(holding.__exit__, None, None, None)


def language_model(registry: ModelRegistry, chosen: InstalledModel, live: InstalledModel) -> LanguageModel:
    """Return what `chosen` is as a language model: itself, or an adapter on its base.

    Args:
        registry: the models.
        chosen: an LLM or an adapter.
        live: the model that is taken for the base of an adapter that does not say what its base is.

    Raises:
        InvalidInput: it is neither.
        ModelMissing: the base is gone.
    """
    if chosen.kind == "llm":
        return LanguageModel(chosen)
    if chosen.kind != "adapter":
        raise InvalidInput(
            f"{chosen.reference} is no language model: its kind is {chosen.kind}", fix="See `keepstone models list`"
        )
    base = live if chosen.base_id is None else registry.by_id(chosen.base_id)
    if base is None:
        raise ModelMissing(
            f"The model that the adapter {chosen.reference} sits on is gone", fix="Pull it, or train the adapter again"
        )
    return LanguageModel(base, chosen)

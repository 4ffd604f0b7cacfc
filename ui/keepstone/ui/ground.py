"""What an app stands on: its home folder, the database, the models, and the language model's engine.

with open_ground(settings, start_engine=True) as ground:
    ground.registry.get("all-minilm-l6-v2")

The engine takes longest of all to start. So it is started here, before the rest of Keepstone's code is even loaded:
this module imports the lowest floor alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import structlog

from keepstone.agents.types import AnsweringModel, Style
from keepstone.platform.accounts import ensure_local_admin
from keepstone.platform.database import Database
from keepstone.platform.errors import EngineUnavailable, InvalidInput, KeepstoneError, SettingsError, Unavailable
from keepstone.platform.locks import exclusive_lock
from keepstone.platform.machine import Machine, probe
from keepstone.platform.models.files import count_parameters
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.platform.serving.absent import AbsentEngine
from keepstone.platform.serving.adapters import adapter_rank
from keepstone.platform.serving.engine import Engine
from keepstone.platform.serving.handover import Engines
from keepstone.platform.serving.http import HttpEngine
from keepstone.platform.serving.install import installed_engine
from keepstone.platform.serving.live import LanguageModel
from keepstone.platform.serving.promoted import live_language_model
from keepstone.platform.serving.room import require_room
from keepstone.platform.serving.supervisor import Patience
from keepstone.platform.serving.vllm import build_launch
from keepstone.platform.settings import Settings

_SWITCH_ON = "Set engine.mode to 'managed' or 'external' in keepstone.toml"
_WRITING_PARAMETERS = 1_000_000_000
"""Below this a language model is asked to quote rather than to write."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """The language model, as those see it who ask it."""

    engines: Engines | None
    """Of the managed engine; None where it is another's, or cannot be started."""
    connect: Callable[[], Engine]
    """Makes a client. Each event loop needs one of its own: that of the app, and that of each job that asks."""
    model: Callable[[], AnsweringModel]
    """Tells which model answers now, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The home folder, held by this process alone, and what is in it."""

    settings: Settings
    machine: Machine
    database: Database
    registry: ModelRegistry
    answering: Answering


@contextmanager
def open_ground(settings: Settings, *, engine: Engine | None = None, start_engine: bool = False) -> Iterator[Ground]:
    """Take the home folder, bring its database up to date, and start the engine if asked to.

    Args:
        settings: the whole tree.
        engine: a language model to use instead of the configured one, for tests.
        start_engine: whether to start the managed engine, in the background.

    Raises:
        Conflict: another process uses this home folder.
        Unavailable: the database does not answer.
    """
    with ExitStack() as resources:
        # The folder may have been there before, open to all; what we write in it is not for other people's eyes.
        resources.callback(os.umask, os.umask(0o077))
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        resources.enter_context(
            exclusive_lock(
                settings.home / "app.lock",
                f"Keepstone is already at work on {settings.home}",
                fix="Use that one (`keepstone status`), stop it (`keepstone down`), or set another KEEPSTONE_HOME",
            )
        )
        machine = probe(settings.home)
        database = Database(settings.database_url)
        resources.callback(database.close)
        database.upgrade()
        with database.transaction() as session:
            ensure_local_admin(session)
        registry = ModelRegistry(database, settings.home)
        answering = _given(settings, engine) if engine is not None else _configured(settings, machine, registry)
        if answering.engines is not None:
            resources.callback(answering.engines.stop)
            if start_engine:
                answering.engines.start()
        yield Ground(settings=settings, machine=machine, database=database, registry=registry, answering=answering)


def engine_python(settings: Settings) -> Path:
    """Return the Python of the environment that has vLLM.

    Raises:
        SettingsError: `engine.python` is no program.
        EngineUnavailable: none is named and none is installed.
    """
    chosen = settings.engine.python
    if chosen is not None:
        if shutil.which(chosen) is None:
            raise SettingsError(
                f"engine.python is '{chosen}', which is no program",
                fix="Name the Python of an environment with vLLM, or leave it out and run `keepstone engine install`",
            )
        return chosen
    installed = installed_engine(settings.home)
    if installed is None:
        raise EngineUnavailable("The language model's engine is not installed", fix="Run `keepstone engine install`")
    return installed.python


def _given(settings: Settings, engine: Engine) -> Answering:
    return Answering(
        engines=None,
        connect=lambda: engine,
        model=lambda: AnsweringModel(engine.model, "given", _style(settings, None)),
    )


def _configured(settings: Settings, machine: Machine, registry: ModelRegistry) -> Answering:
    chosen = settings.engine
    if chosen.mode == "external":
        external = partial(
            HttpEngine,
            str(chosen.url),
            model=chosen.model,
            max_model_len=chosen.max_model_len,
            api_key=chosen.api_key.get_secret_value() if chosen.api_key else None,
            max_streams=chosen.max_streams,
            timeout_s=chosen.request_timeout_s,
        )
        answers = AnsweringModel(chosen.model, "external", _style(settings, None))
        return Answering(engines=None, connect=external, model=lambda: answers)
    if chosen.mode == "off":
        reason = EngineUnavailable("The language model is switched off", fix=_SWITCH_ON)
        return _absent(AnsweringModel(chosen.model, "off", _style(settings, None)), reason)
    try:
        engines = _managed_engines(settings, machine, live_language_model(registry, chosen.model))
    except (InvalidInput, Unavailable, SettingsError) as error:
        log.warning("engine_not_startable", reason=str(error))
        return _absent(AnsweringModel(chosen.model, "missing", "write"), error)
    return Answering(
        engines=engines,
        connect=engines.live.client,
        model=lambda: _answering_model(settings, engines.live.served.model),
    )


def _absent(model: AnsweringModel, reason: KeepstoneError) -> Answering:
    engine = AbsentEngine(model.name, reason)
    return Answering(engines=None, connect=lambda: engine, model=lambda: model)


def _managed_engines(settings: Settings, machine: Machine, model: LanguageModel) -> Engines:
    chosen, python = settings.engine, engine_python(settings)
    return Engines(
        model,
        name=chosen.model.partition("@")[0],
        home=settings.home,
        plan=lambda wanted, port: build_launch(
            chosen,
            home=settings.home,
            python=python,
            model=wanted.base,
            machine=machine,
            port=port,
            adapter_rank=adapter_rank(wanted.adapter) if wanted.adapter else 0,
        ),
        check_room=partial(require_room, chosen, machine),
        patience=Patience(start_s=chosen.start_timeout_s),
        drain_s=chosen.request_timeout_s,
    )


def _answering_model(settings: Settings, model: LanguageModel) -> AnsweringModel:
    chosen, base = model.chosen, model.base.reference if model.adapter else None
    return AnsweringModel(chosen.name, chosen.version, _style(settings, model.base), base)


def _style(settings: Settings, model: InstalledModel | None) -> Style:
    if settings.answering.style != "auto":
        return settings.answering.style
    parameters = _parameters(model.path) if model else None
    return "quote" if parameters is not None and parameters < _WRITING_PARAMETERS else "write"


_parameters = cache(count_parameters)

"""The composition root: builds all services of one process from the settings, and takes them down again.

with Runtime.open(load_settings()) as runtime:
    runtime.library.collections(principal)
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from keepstone.agents.answering import Answerer
from keepstone.agents.conversations import Conversations
from keepstone.agents.react.runs import AgentRuns
from keepstone.agents.react.types import Budget
from keepstone.agents.tools.standard import STANDARD_TOOLS
from keepstone.agents.types import AnsweringModel, Style
from keepstone.platform.accounts import ensure_local_admin
from keepstone.platform.blobs import BlobStore
from keepstone.platform.database import Database
from keepstone.platform.errors import EngineUnavailable, InvalidInput, SettingsError, Unavailable
from keepstone.platform.jobs import Jobs, open_jobs
from keepstone.platform.locks import exclusive_lock
from keepstone.platform.machine import Machine, probe
from keepstone.platform.models.catalog import Kind
from keepstone.platform.models.files import count_parameters
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.platform.serving.absent import AbsentEngine
from keepstone.platform.serving.adapters import adapter_rank
from keepstone.platform.serving.candidates import Candidates
from keepstone.platform.serving.engine import Engine
from keepstone.platform.serving.handover import Engines
from keepstone.platform.serving.http import HttpEngine
from keepstone.platform.serving.install import installed_engine
from keepstone.platform.serving.live import LanguageModel
from keepstone.platform.serving.room import require_room
from keepstone.platform.serving.supervisor import EngineSupervisor, Patience
from keepstone.platform.serving.vllm import build_launch
from keepstone.platform.settings import Settings
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.encoders import Encoders, open_encoder
from keepstone.retrieval.indexes.catalog import IndexSet
from keepstone.retrieval.ingest import Ingestion
from keepstone.retrieval.library import Library
from keepstone.retrieval.loaders.base import LoadLimits
from keepstone.retrieval.loaders.worker import LoadPool
from keepstone.retrieval.reindex import Reindexing
from keepstone.retrieval.search import Searcher
from keepstone.retrieval.upkeep import Upkeep
from keepstone.training.data import DatasetBuilder, DatasetLibrary, Datasets
from keepstone.training.evaluate import Evaluations, Judge, Verdicts
from keepstone.training.improve import Improvements
from keepstone.training.improve.orders import Orders
from keepstone.training.improve.record import Records
from keepstone.training.promotion import Promotions, live_language_model
from keepstone.training.runs import Runs

if TYPE_CHECKING:
    from keepstone.agents.mcp.client import ForeignTools

_SWITCH_ON = "Set engine.mode to 'managed' or 'external' in keepstone.toml"
_WRITING_PARAMETERS = 1_000_000_000
"""Below this a language model is asked to quote rather than to write."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Runtime:
    """The services of one process, ready to use."""

    settings: Settings
    machine: Machine
    database: Database
    blobs: BlobStore
    registry: ModelRegistry
    encoders: Encoders
    indexes: IndexSet
    searcher: Searcher
    library: Library
    jobs: Jobs
    ingestion: Ingestion
    reindexing: Reindexing
    runs: Runs
    engine: Engine
    engines: Engines | None
    """Of the managed engine; None where it is another's, or cannot be started."""
    candidates: Candidates
    promotions: Promotions
    judge: Judge
    verdicts: Verdicts
    evaluations: Evaluations
    improvements: Improvements
    answerer: Answerer
    agent: AgentRuns
    foreign_tools: ForeignTools | None
    """Tools of foreign MCP servers; None where none are listed. To be kept fresh while an app runs."""
    conversations: Conversations
    datasets: DatasetLibrary
    dataset_builder: DatasetBuilder
    resumed: tuple[str, ...]
    """Jobs queued at start for what an earlier process left undone."""

    @property
    def encoder(self) -> Encoder:
        """The encoder of the settings, which collections without one of their own use."""
        return self.encoders.default

    @property
    def supervisor(self) -> EngineSupervisor | None:
        """Watches the live engine; None where Keepstone does not run it."""
        return self.engines.supervisor if self.engines else None

    @property
    def language_model(self) -> str:
        """What answers now: name and version where that is known, else the name of the settings."""
        return self.engines.live.served.model.reference if self.engines else self.engine.model

    @staticmethod
    @contextmanager
    def open(
        settings: Settings,
        *,
        engine: Engine | None = None,
        encoder: Encoder | Encoders | None = None,
        start_engine: bool = False,
    ) -> Iterator[Runtime]:
        """Build everything, in the order of need, and close it in reverse at the end.

        Args:
            settings: the whole tree.
            engine: a language model to use instead of the configured one, for tests.
            encoder: an encoder, or several, to use instead of the configured one, for tests.
            start_engine: whether to start the managed engine, in the background.

        Raises:
            Conflict: another process uses this home folder.
            ModelMissing: the encoder is not installed.
            Unavailable: the database does not answer.
        """
        with ExitStack() as resources:
            yield _build(settings, engine, encoder, resources, start_engine=start_engine)


def _build(
    settings: Settings,
    engine: Engine | None,
    encoder: Encoder | Encoders | None,
    resources: ExitStack,
    *,
    start_engine: bool,
) -> Runtime:
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
    blobs = BlobStore(settings.blob_url)
    registry = ModelRegistry(database, settings.home)
    live = partial(live_language_model, registry, settings.engine.model)
    engines, connect, model = _engine(settings, machine, live, engine, resources)
    engine = connect()
    if engines is not None and start_engine:
        # It takes longest, so it starts first; everything else is loaded meanwhile.
        engines.start()
    encoders = _encoders(settings, registry, encoder)
    indexes = IndexSet(database, settings.home / "indexes", encoders, ef_search=settings.search.ef_search)
    resources.callback(indexes.close)
    searcher = Searcher(database, encoders, indexes, settings.search)
    library = Library(
        database,
        blobs,
        encoder_version=encoders.default.version,
        max_file_bytes=settings.ingestion.max_file_mb * 2**20,
        on_change=indexes.notify,
    )
    pool = resources.enter_context(LoadPool(_load_limits(settings)))
    jobs = open_jobs(database, settings)
    resources.callback(jobs.close)
    ingestion = Ingestion(
        database=database,
        blobs=blobs,
        pool=pool,
        encoders=encoders,
        indexes=indexes,
        chunking=settings.chunking,
        jobs=jobs,
    )
    reindexing = Reindexing(database, encoders, indexes)
    models: dict[Kind, str] = {"encoder": settings.encoder.model, "llm": settings.engine.model}
    runs = Runs(
        database=database,
        jobs=jobs,
        registry=registry,
        machine=machine,
        home=settings.home,
        models=models,
    )
    candidates = Candidates(registry, engines)
    promotions = Promotions(
        database=database,
        registry=registry,
        candidates=candidates,
        reindexing=reindexing,
        setting=settings.engine.model,
        jobs=jobs,
    )
    promotions.settle()
    datasets = DatasetLibrary(database, Datasets(settings.home / "datasets"))
    dataset_builder = DatasetBuilder(
        database=database,
        searcher=searcher,
        encoders=encoders,
        indexes=indexes,
        engine=engine,
        connect=connect,
        model=model,
        answering=settings.answering,
        datasets=datasets.store,
        jobs=jobs,
    )
    dataset_builder.tidy()
    verdicts = Verdicts(database)
    judge = Judge(
        database=database,
        registry=registry,
        searcher=searcher,
        encoder=encoders.default,
        answering=settings.answering,
        verdicts=verdicts,
        folder=settings.home / "judging",
    )
    evaluations = Evaluations(
        database=database,
        jobs=jobs,
        registry=registry,
        datasets=datasets,
        judge=judge,
        build_index=reindexing.build,
        connect=connect,
        model=model,
        serve=candidates.serve,
    )
    improvements = Improvements(
        database=database,
        jobs=jobs,
        orders=Orders(
            registry=registry,
            models=models,
            builder=dataset_builder,
            datasets=datasets,
            runs=runs,
            evaluations=evaluations,
            verdicts=verdicts,
            promotions=promotions,
            reindexing=reindexing,
        ),
        records=Records(settings.home / "reports"),
        machine=machine,
    )
    resumed = ingestion.resume()
    indexes.catch_up_all()
    indexes.start()
    upkeep = Upkeep(database, blobs, indexes, reindexing)
    resources.callback(upkeep.stop)
    upkeep.start()
    jobs.launch()
    answerer = Answerer(
        database=database,
        searcher=searcher,
        encoder=encoders.default,
        engine=engine,
        model=model,
        settings=settings.answering,
    )
    foreign_tools = _foreign_tools(settings)
    agent = AgentRuns(
        database=database,
        searcher=searcher,
        library=library,
        engine=engine,
        answerer=answerer,
        tools=lambda: (*STANDARD_TOOLS, *(foreign_tools.known() if foreign_tools else ())),
        budget=Budget(
            steps=settings.agent.max_steps, tokens=settings.agent.max_tokens, seconds=settings.agent.max_seconds
        ),
        worker=f"{socket.gethostname()}:{settings.home}",
        engine_wait_s=settings.engine.start_timeout_s,
    )
    return Runtime(
        settings=settings,
        machine=machine,
        database=database,
        blobs=blobs,
        registry=registry,
        encoders=encoders,
        indexes=indexes,
        searcher=searcher,
        library=library,
        jobs=jobs,
        ingestion=ingestion,
        reindexing=reindexing,
        runs=runs,
        engine=engine,
        engines=engines,
        candidates=candidates,
        promotions=promotions,
        judge=judge,
        verdicts=verdicts,
        evaluations=evaluations,
        improvements=improvements,
        answerer=answerer,
        agent=agent,
        foreign_tools=foreign_tools,
        conversations=Conversations(database),
        datasets=datasets,
        dataset_builder=dataset_builder,
        resumed=tuple(resumed),
    )


def _engine(
    settings: Settings,
    machine: Machine,
    live: Callable[[], LanguageModel],
    given: Engine | None,
    resources: ExitStack,
) -> tuple[Engines | None, Callable[[], Engine], Callable[[], AnsweringModel]]:
    """Return the managed engines, what makes a client, and what tells how the model answers.

    Each event loop needs a client of its own: that of the app has one, each job that asks the model makes another.
    """
    chosen = settings.engine
    if given is not None:
        return None, lambda: given, lambda: AnsweringModel(given.model, "given", _style(settings, None))
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
        return None, external, lambda: AnsweringModel(chosen.model, "external", _style(settings, None))
    if chosen.mode == "off":
        absent = AbsentEngine(chosen.model, EngineUnavailable("The language model is switched off", fix=_SWITCH_ON))
        return None, lambda: absent, lambda: AnsweringModel(chosen.model, "off", _style(settings, None))
    try:
        engines = _managed_engines(settings, machine, live())
    except (InvalidInput, Unavailable, SettingsError) as error:
        log.warning("engine_not_startable", reason=str(error))
        missing = AbsentEngine(chosen.model, error)
        return None, lambda: missing, lambda: AnsweringModel(chosen.model, "missing", "write")
    resources.callback(engines.stop)
    return engines, engines.live.client, lambda: _answering_model(settings, engines.live.served.model)


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


def _encoders(settings: Settings, registry: ModelRegistry, given: Encoder | Encoders | None) -> Encoders:
    """Return those given, or the encoder of the settings and whatever else is installed.

    Raises:
        ModelMissing: the encoder of the settings is not installed.
    """
    if isinstance(given, Encoders):
        return given

    def load(version: str) -> Encoder:
        return open_encoder(registry.get(version), settings.encoder)

    return Encoders(given or open_encoder(registry.get(settings.encoder.model), settings.encoder), load)


def _foreign_tools(settings: Settings) -> ForeignTools | None:
    if not settings.mcp.servers:
        return None
    # The protocol's library takes a second to load.
    from keepstone.agents.mcp.client import ForeignTools

    return ForeignTools(settings.mcp, taken=[tool.name for tool in STANDARD_TOOLS])


def _style(settings: Settings, model: InstalledModel | None) -> Style:
    if settings.answering.style != "auto":
        return settings.answering.style
    parameters = _parameters(model.path) if model else None
    return "quote" if parameters is not None and parameters < _WRITING_PARAMETERS else "write"


_parameters = cache(count_parameters)


def _load_limits(settings: Settings) -> LoadLimits:
    limits = settings.ingestion
    return LoadLimits(
        max_text_chars=limits.max_text_chars, timeout_s=limits.load_timeout_s, memory_mb=limits.load_memory_mb
    )

"""The composition root: builds all services of one process from the settings, and takes them down again.

with Runtime.open(load_settings()) as runtime:
    runtime.library.collections(principal)
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstone.agents.answering import Answerer
from keepstone.agents.conversations import Conversations
from keepstone.agents.react.runs import AgentRuns
from keepstone.agents.react.types import Budget
from keepstone.agents.tools.standard import STANDARD_TOOLS
from keepstone.agents.understanding.understanding import Understanding
from keepstone.platform.blobs import BlobStore
from keepstone.platform.database import Database
from keepstone.platform.fetching import Fetcher
from keepstone.platform.jobs import Jobs, open_jobs
from keepstone.platform.machine import Machine
from keepstone.platform.models.catalog import Kind
from keepstone.platform.models.registry import ModelRegistry
from keepstone.platform.serving.candidates import Candidates
from keepstone.platform.serving.engine import Engine
from keepstone.platform.serving.handover import Engines
from keepstone.platform.serving.supervisor import EngineSupervisor
from keepstone.platform.settings import Settings
from keepstone.retrieval.archives import ArchiveLimits
from keepstone.retrieval.chunking.placement import Placer
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.encoders import Encoders, configured_encoder, open_encoder
from keepstone.retrieval.indexes.catalog import IndexSet
from keepstone.retrieval.ingest import Ingestion
from keepstone.retrieval.library import Library
from keepstone.retrieval.loaders.base import LoadLimits
from keepstone.retrieval.loaders.worker import LoadPool
from keepstone.retrieval.reindex import Reindexing
from keepstone.retrieval.reranking import OFF, Reranker, Rerankers, open_reranker
from keepstone.retrieval.reranking.listwise import ListwiseReranker
from keepstone.retrieval.search import Searcher
from keepstone.retrieval.sources import Sources
from keepstone.retrieval.upkeep import Upkeep
from keepstone.retrieval.url_encoder import UrlEncoder
from keepstone.training.data import DatasetBuilder, DatasetLibrary, Datasets
from keepstone.training.evaluate import Evaluations, Judge, Verdicts
from keepstone.training.improve import Improvements
from keepstone.training.improve.orders import Orders
from keepstone.training.improve.record import Records
from keepstone.training.promotion import Promotions
from keepstone.training.relevance import Adoption, Evaluator, Judgements, Measuring, QuestionMaker, Trials, Tuning
from keepstone.training.runs import Runs
from keepstone.ui.ground import Ground, open_ground

if TYPE_CHECKING:
    from keepstone.agents.mcp.client import ForeignTools


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
    rerankers: Rerankers
    searcher: Searcher
    library: Library
    fetcher: Fetcher
    jobs: Jobs
    ingestion: Ingestion
    sources: Sources
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
    judgements: Judgements
    evaluator: Evaluator
    maker: QuestionMaker
    """Makes questions about collections whose search nobody has judged."""
    measuring: Measuring
    adoption: Adoption
    tuning: Tuning
    improvements: Improvements
    understanding: Understanding
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

    def encoder_trouble(self) -> str | None:
        """Return why the encoder's server does not encode; None when it does, and for an encoder of this process."""
        return self.encoder.trouble() if isinstance(self.encoder, UrlEncoder) else None

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
        with (
            open_ground(settings, engine=engine, start_engine=start_engine) as ground,
            Runtime.on(ground, encoder) as runtime,
        ):
            yield runtime

    @staticmethod
    @contextmanager
    def on(ground: Ground, encoder: Encoder | Encoders | None = None) -> Iterator[Runtime]:
        """Build everything else on the ground that is there already.

        Raises:
            ModelMissing: the encoder is not installed.
        """
        with ExitStack() as resources:
            yield _build(ground, encoder, resources)


def _build(ground: Ground, encoder: Encoder | Encoders | None, resources: ExitStack) -> Runtime:
    settings, machine, database, registry = ground.settings, ground.machine, ground.database, ground.registry
    engines, connect, model = ground.answering.engines, ground.answering.connect, ground.answering.model
    engine = connect()
    blobs = BlobStore(settings.blob_url)
    encoders = _encoders(settings, registry, encoder)
    indexes = IndexSet(
        database,
        settings.home / "indexes",
        encoders,
        settings=settings.indexes,
        ef_search=settings.search.ef_search,
    )
    resources.callback(indexes.close)
    listwise = ListwiseReranker(connect, lambda: f"{model().name}@{model().version}")
    rerankers = _rerankers(settings, registry, encoders, listwise)
    searcher = Searcher(database, encoders, indexes, settings.search, rerankers)
    library = Library(
        database,
        blobs,
        encoder_version=encoders.default.version,
        chunking=settings.chunking,
        max_file_bytes=settings.ingestion.max_file_mb * 2**20,
        archives=ArchiveLimits(
            max_files=settings.ingestion.max_archive_files, max_bytes=settings.ingestion.max_archive_mb * 2**20
        ),
        on_change=indexes.notify,
    )
    pool = resources.enter_context(LoadPool(_load_limits(settings)))
    jobs = open_jobs(database, settings)
    resources.callback(jobs.close)
    placer = Placer(database, connect, lambda: f"{model().name}@{model().version}")
    ingestion = Ingestion(
        database=database,
        blobs=blobs,
        pool=pool,
        encoders=encoders,
        indexes=indexes,
        chunking=settings.chunking,
        jobs=jobs,
        placer=placer,
    )
    sources = Sources(
        database=database,
        library=library,
        ingestion=ingestion,
        jobs=jobs,
        settings=settings.sources,
        max_file_bytes=settings.ingestion.max_file_mb * 2**20,
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
    judgements = Judgements(database)
    adoption = Adoption(database, ingestion, settings.search, settings.chunking)
    evaluator = Evaluator(database, searcher, judgements, adoption)
    maker = QuestionMaker(database, searcher, connect, model)
    measuring = Measuring(
        database=database,
        searcher=searcher,
        evaluator=evaluator,
        maker=maker,
        folder=settings.home / "evaluations",
        jobs=jobs,
    )
    trials = Trials(
        database,
        encoders=encoders,
        rerankers=rerankers,
        registry=registry,
        search=settings.search,
        chunking=settings.chunking,
        placer=placer,
    )
    tuning = Tuning(
        database=database,
        searcher=searcher,
        evaluator=evaluator,
        maker=maker,
        trials=trials,
        adoption=adoption,
        folder=settings.home / "tunings",
        jobs=jobs,
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
    resources.callback(sources.stop)
    sources.start()
    jobs.launch()
    understanding = Understanding(engine, model, encoders.default, settings.understanding)
    answerer = Answerer(
        database=database,
        searcher=searcher,
        encoder=encoders.default,
        engine=engine,
        model=model,
        settings=settings.answering,
        understanding=understanding,
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
        rerankers=rerankers,
        searcher=searcher,
        library=library,
        fetcher=Fetcher(settings.fetch),
        jobs=jobs,
        ingestion=ingestion,
        sources=sources,
        reindexing=reindexing,
        runs=runs,
        engine=engine,
        engines=engines,
        candidates=candidates,
        promotions=promotions,
        judge=judge,
        verdicts=verdicts,
        evaluations=evaluations,
        judgements=judgements,
        evaluator=evaluator,
        maker=maker,
        measuring=measuring,
        adoption=adoption,
        tuning=tuning,
        improvements=improvements,
        understanding=understanding,
        answerer=answerer,
        agent=agent,
        foreign_tools=foreign_tools,
        conversations=Conversations(database),
        datasets=datasets,
        dataset_builder=dataset_builder,
        resumed=tuple(resumed),
    )


def _encoders(settings: Settings, registry: ModelRegistry, given: Encoder | Encoders | None) -> Encoders:
    """Return those given, or the encoder of the settings and whatever else is installed.

    Raises:
        ModelMissing: the encoder of the settings is not installed.
        SettingsError: it cannot be as they want it.
    """
    if isinstance(given, Encoders):
        return given

    def load(version: str) -> Encoder:
        return open_encoder(registry.get(version), settings.encoder)

    return Encoders(given or configured_encoder(registry, settings.encoder), load)


def _rerankers(
    settings: Settings, registry: ModelRegistry, encoders: Encoders, listwise: ListwiseReranker
) -> Rerankers:
    """Return the rerankers.

    Raises:
        ModelMissing: that of the settings is not installed.
    """

    def load(name: str) -> Reranker:
        return open_reranker(registry.get(name), settings.encoder)

    rerankers = Rerankers(encoders.default, load, listwise=listwise)
    if settings.search.reranker != OFF:
        rerankers.get(settings.search.reranker)
    return rerankers


def _foreign_tools(settings: Settings) -> ForeignTools | None:
    if not settings.mcp.servers:
        return None
    # The protocol's library takes a second to load.
    from keepstone.agents.mcp.client import ForeignTools

    return ForeignTools(settings.mcp, taken=[tool.name for tool in STANDARD_TOOLS])


def _load_limits(settings: Settings) -> LoadLimits:
    limits = settings.ingestion
    return LoadLimits(
        max_text_chars=limits.max_text_chars, timeout_s=limits.load_timeout_s, memory_mb=limits.load_memory_mb
    )

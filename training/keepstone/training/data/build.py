"""Building a dataset: a durable job that can be killed at any line and then gives the same dataset.

Its plan takes the corpus and splits it; each unit turns some passages into rows and keeps them in a file of its own;
the last unit puts them together. All of it stands in `datasets/.build-<job>/` until the dataset is whole, and then
under the name of its content. Only who owns a collection may build from it: a dataset holds its text and what people
asked.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from keepstone.agents.prompts import PROMPT_VERSION as ANSWER_PROMPT
from keepstone.agents.types import AnsweringModel
from keepstone.platform.access import Principal, allowed_actions, authorize, find_collection, readable_scope
from keepstone.platform.database import Database
from keepstone.platform.database.tables import OPEN_JOBS, CollectionRow, JobRow
from keepstone.platform.errors import Conflict, Forbidden, storage_errors
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.platform.serving.engine import Engine
from keepstone.platform.settings import AnsweringSettings
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.indexes.catalog import IndexSet
from keepstone.retrieval.indexes.files import write_atomically
from keepstone.retrieval.search import Searcher
from keepstone.training.acting import acting_principal, scopes_of
from keepstone.training.data.assemble import MIN_ROWS, Assembled, assemble, chunks_alive, listed, require_enough
from keepstone.training.data.candidates import Candidate, Fault
from keepstone.training.data.config import DatasetConfig, QuestionSource
from keepstone.training.data.corpus import Corpus, SourcePassage, take_corpus
from keepstone.training.data.exchanges import PromptBudget
from keepstone.training.data.feedback import read_feedback
from keepstone.training.data.questions import UnitResult, Workshop, kinds_of
from keepstone.training.data.sentences import take_questions
from keepstone.training.data.store import DatasetCard, Datasets
from keepstone.training.data.writing import PROMPT_VERSION as QUESTION_PROMPT
from keepstone.training.data.writing import write_questions

KIND = "dataset"
_UNIT_PASSAGES = 16
_CORPUS = "corpus.jsonl"
_BUILDING = ".build-"

log = structlog.get_logger(__name__)


class DatasetBuilder:
    """The job kind `dataset`.

    Args:
        database: where collections and feedback are.
        searcher: for the round trip and the negatives.
        encoders: those that search uses.
        indexes: brought up to the database before a build.
        engine: the language model, whose tokens are counted.
        connect: gives a client of it for an event loop of its own; closed after use.
        model: its name, version and whether it can write, or what tells them at the moment it is asked.
        answering: how prompts are packed.
        datasets: where datasets are kept.
        jobs: where the work is queued; this object registers itself there.
    """

    def __init__(
        self,
        *,
        database: Database,
        searcher: Searcher,
        encoders: Encoders,
        indexes: IndexSet,
        engine: Engine,
        connect: Callable[[], Engine],
        model: AnsweringModel | Callable[[], AnsweringModel],
        answering: AnsweringSettings,
        datasets: Datasets,
        jobs: Jobs,
    ) -> None:
        self._database, self._searcher, self._encoders, self._indexes = database, searcher, encoders, indexes
        self._engine, self._connect, self._answering = engine, connect, answering
        self._model = model if callable(model) else lambda: model
        self._jobs = jobs
        self.datasets = datasets
        self._open: tuple[str, Workshop] | None = None
        jobs.register(KIND, self)

    def source_of(self, config: DatasetConfig) -> QuestionSource:
        """Return where the questions of an order come from."""
        if config.source != "auto":
            return config.source
        return "written" if self._model().style == "write" else "sentences"

    def submit(self, principal: Principal, config: DatasetConfig, *, job_id: str | None = None) -> str:
        """Order a dataset and return the job's id.

        Args:
            principal: who orders it.
            config: what to build.
            job_id: as for `Jobs.submit`.

        Raises:
            NotFound: there is no such collection.
            Forbidden: it is not this principal's own, nor is this an administrator.
        """
        with self._database.transaction() as session:
            collection = owned_collection(session, principal, config.collection)
            # Settled here, so that a build that goes on under another model does not mix two kinds of questions.
            settled = config.model_copy(
                update={
                    "collection": collection.id,
                    "name": config.name or _slug(collection.name),
                    "source": self.source_of(config),
                }
            )
            return self._jobs.submit(
                KIND,
                {"config": settled.model_dump(mode="json"), "scopes": scopes_of(principal)},
                principal_id=principal.id,
                collection_id=collection.id,
                session=session,
                job_id=job_id,
            )

    def plan(self, job: JobInfo) -> list[Any]:
        """Take the corpus, and cut its passages into units `["questions", first, last]`."""
        config = _config(job)
        self.tidy()
        with self._database.reading() as session:
            name = owned_collection(session, acting_principal(session, job), config.collection).name
        self._indexes.catch_up(config.collection)
        corpus = take_corpus(self._database, config.collection, name, config, job.check_cancelled)
        # Fewer passages can never be enough, whatever is asked about them; said before the model has worked for it.
        per_passage = 1 if self.source_of(config) == "written" else 3
        test = sum(corpus.passages[place].side == "test" for place in corpus.asked)
        if test * per_passage < MIN_ROWS["test"] or (len(corpus.asked) - test) * per_passage < MIN_ROWS["train"]:
            require_enough(Assembled(), corpus)
        folder = self._folder(job.id)
        with storage_errors("beginning a dataset"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        corpus.save(folder / _CORPUS)
        return _units(len(corpus.asked))

    def run(self, job: JobInfo, unit: Any) -> None:
        """Do one unit; done again it gives the same."""
        what, *span = unit
        if what == "write":
            self._write(job)
            return
        workshop = self._workshop(job)
        if what == "feedback":
            with self._database.reading() as session:
                judged, dropped = read_feedback(session, workshop.corpus.collection_id, workshop.by_chunk)
            result = workshop.from_feedback(judged, dropped)
        else:
            asked = workshop.corpus.asked[span[0] : span[1]]
            sources = [workshop.corpus.passages[place] for place in asked]
            candidates = self._candidates(job, workshop, sources)
            job.check_cancelled()
            result = workshop.from_candidates(candidates)
        write_atomically(self._unit_file(job.id, unit), result.model_dump_json().encode("utf-8", "replace"))

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Remove the build's own folder; the dataset, if there is one, stands beside it."""
        del error
        self._open = None
        shutil.rmtree(self._folder(job.id), ignore_errors=True)

    def tidy(self) -> None:
        """Remove what builds left behind whose jobs are gone, such as those of deleted collections."""
        if not self.datasets.folder.is_dir():
            return
        with self._database.reading() as session:
            running = set(session.scalars(sa.select(JobRow.id).where(JobRow.kind == KIND, JobRow.state.in_(OPEN_JOBS))))
        for path in self.datasets.folder.iterdir():
            if path.name.startswith(".") and path.name.removeprefix(_BUILDING) not in running:
                shutil.rmtree(path, ignore_errors=True)

    def _candidates(
        self, job: JobInfo, workshop: Workshop, sources: Sequence[SourcePassage]
    ) -> Sequence[Candidate | Fault]:
        config, collection_id = _config(job), workshop.corpus.collection_id
        if self.source_of(config) == "sentences":
            return [
                each
                for source in sources
                for each in take_questions(source, collection_id, workshop.rarity, seed=config.seed)
            ]

        async def write() -> list[Candidate | Fault]:
            engine = self._connect()
            try:
                return await write_questions(
                    engine, collection_id, sources, seed=config.seed, check=job.check_cancelled
                )
            finally:
                await engine.close()

        return asyncio.run(write())

    def _write(self, job: JobInfo) -> None:
        config, corpus = _config(job), self._workshop(job).corpus
        with _own_files():
            results = [
                UnitResult.model_validate_json(self._unit_file(job.id, unit).read_bytes())
                for unit in _units(len(corpus.asked))[:-1]
            ]
        with self._database.reading() as session:
            owned_collection(session, acting_principal(session, job), config.collection)
            made = assemble(results, chunks_alive(session, results))
        require_enough(made, corpus)
        files = made.files(corpus)
        assert config.name is not None, "submit names it"
        model = self._model()
        sides = [side for _, _, side in corpus.documents]
        card = DatasetCard(
            name=config.name,
            collection_id=corpus.collection_id,
            collection=corpus.collection,
            change_sequence=corpus.change_sequence,
            encoder=self._indexes.get(corpus.collection_id).encoder_version,
            model=model.name,
            model_version=model.version,
            question_source=self.source_of(config),
            prompts=(ANSWER_PROMPT, QUESTION_PROMPT),
            settings=config,
            seed=config.seed,
            documents={"train": sides.count("train"), "test": sides.count("test")},
            passages=len(corpus.passages),
            kinds=kinds_of([*made.retrieval["train"], *made.retrieval["test"]]),
            dropped=dict(sorted(made.dropped.items())),
            files=listed(files),
        )
        dataset = self.datasets.add(config.name, files, card, job.id)
        log.info("dataset_built", dataset=dataset.id, train=len(made.retrieval["train"]))

    def _workshop(self, job: JobInfo) -> Workshop:
        if self._open is not None and self._open[0] == job.id:
            return self._open[1]
        config = _config(job)
        with self._database.reading() as session:
            scope = readable_scope(session, acting_principal(session, job), [config.collection])
        with _own_files():
            corpus = Corpus.load(self._folder(job.id) / _CORPUS)
        workshop = Workshop(
            corpus,
            searcher=self._searcher,
            scope=scope,
            encoders=self._encoders,
            budget=PromptBudget.of(self._answering, self._engine.max_model_len, self._engine.count_tokens),
            config=config,
        )
        self._open = (job.id, workshop)
        return workshop

    def _folder(self, job_id: str) -> Path:
        return self.datasets.folder / f"{_BUILDING}{job_id}"

    def _unit_file(self, job_id: str, unit: Sequence[Any]) -> Path:
        # Feedback comes first, since of two questions that are alike the earlier is kept.
        number = 0 if unit[0] == "feedback" else unit[1] + 1
        return self._folder(job_id) / f"unit-{number:08d}.json"


def _units(asked: int) -> list[list[Any]]:
    """Return the units of a build about so many passages; what the earlier ones give, the last one puts together."""
    starts = range(0, asked, _UNIT_PASSAGES)
    spans = [["questions", start, min(start + _UNIT_PASSAGES, asked)] for start in starts]
    return [["feedback"], *spans, ["write"]]


@contextmanager
def _own_files() -> Iterator[None]:
    """Word the absence of what earlier steps wrote: somebody deleted it, or it is on another machine."""
    try:
        yield
    except FileNotFoundError as error:
        raise Conflict("The files of this build are gone", fix="Build the dataset again") from error


def _config(job: JobInfo) -> DatasetConfig:
    return DatasetConfig.model_validate(job.args["config"])


def owned_collection(session: Session, principal: Principal, collection: str) -> CollectionRow:
    """Return the collection if it is the principal's own.

    Raises:
        NotFound: they may not read it, or there is none.
        Forbidden: it is not their own, or their credential may only read.
    """
    row = find_collection(session, principal, collection)
    if "own" not in allowed_actions(session, principal, row):
        raise Forbidden(
            f"Only who owns the collection {row.name!r} may make a dataset of it",
            fix="Ask its owner for the role 'owner', or an administrator",
        )
    authorize(session, principal, "own", row)
    return row


def _slug(name: str) -> str:
    """Return a collection's name in small letters, digits and hyphens."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name)[:40].strip("-") or "dataset"

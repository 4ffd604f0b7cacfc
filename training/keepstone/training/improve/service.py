"""Order an improvement, see beforehand what it would take, watch it, and read its report.

    improvements = Improvements(database=database, jobs=jobs, ...)
    job_id = improvements.start(principal, ImproveConfig(collection="handbook"))
    improvements.get(principal, job_id).record.summary

One job does it all: it builds a dataset from the collection, trains on it, has what came out judged on held-out
questions, promotes what passed, and writes the report. Only administrators may: what a model learns, everybody who
uses it can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from keepstone.platform.access import Principal
from keepstone.platform.database import Database
from keepstone.platform.database.tables import DocumentRow, DocumentState, JobRow, new_id
from keepstone.platform.errors import InvalidInput, ModelMissing, did_you_mean
from keepstone.platform.jobs import Jobs
from keepstone.platform.machine import Machine
from keepstone.platform.models.files import count_parameters
from keepstone.training.acting import scopes_of
from keepstone.training.data import DatasetConfig
from keepstone.training.data.build import owned_collection
from keepstone.training.improve.config import ImproveConfig, RecipeName
from keepstone.training.improve.estimate import Estimate, estimate
from keepstone.training.improve.job import KIND, ImproveJob
from keepstone.training.improve.orders import Orders
from keepstone.training.improve.record import Improvement, Records
from keepstone.training.improve.report import as_html, as_markdown
from keepstone.training.improve.stages import held_out_share
from keepstone.training.recipes import recipe as recipe_of

_WRITES = 1_000_000_000
"""Parameters from which a language model writes answers of its own, and is worth an adapter."""


@dataclass(frozen=True, slots=True)
class Progress:
    """An improvement, as people watch it."""

    record: Improvement
    state: str
    """Of its job; `gone` where only the report is left."""
    done: int
    total: int
    cancel_requested: bool


class Improvements:
    """The improvements of one home folder. Made before `jobs.launch`, since it names their handler.

    Args:
        database: where jobs and collections are.
        jobs: runs them, one at a time.
        orders: the services that they are made of.
        records: where it is written down what came of them.
        machine: for plans, and for what is worth its while.
    """

    def __init__(self, *, database: Database, jobs: Jobs, orders: Orders, records: Records, machine: Machine) -> None:
        self._database, self._jobs, self._orders, self._records = database, jobs, orders, records
        self._machine = machine
        jobs.register(KIND, ImproveJob(database, jobs, orders, records), concurrency=1, own_progress=True)

    def plan(self, principal: Principal, config: ImproveConfig) -> Sequence[Estimate]:
        """Return what each step would take; nothing runs.

        Raises:
            Forbidden: the principal is no administrator, or does not own the collection.
            NotFound: there is no such collection or dataset.
            ModelMissing: a model to start from is not installed.
            InvalidInput: an option is wrong, or the collection is empty.
        """
        settled, dataset, _ = self._settle(principal, config)
        starts = {recipe: self._orders.start_of(recipe) for recipe in settled.recipes}
        given = None
        if settled.dataset is not None:
            given = self._orders.given_dataset(principal, settled.dataset, settled.collection)
        return estimate(self._database, settled, dataset, starts, self._machine, given=given)

    def needs_engine(self, principal: Principal, config: ImproveConfig) -> bool:
        """Tell whether the language model has to answer for an improvement.

        Raises:
            Forbidden, NotFound, ModelMissing, InvalidInput: as for `plan`.
        """
        settled, dataset, _ = self._settle(principal, config)
        writes = settled.dataset is None and self._orders.writes_questions(dataset)
        return writes or set(settled.recipes) != {"embedding"}

    def start(self, principal: Principal, config: ImproveConfig) -> str:
        """Order an improvement and return the id of its job.

        Raises:
            Forbidden, NotFound, ModelMissing, InvalidInput: as for `plan`.
        """
        settled, dataset, name = self._settle(principal, config)
        for recipe in settled.recipes:
            self._orders.start_of(recipe)
        # First, since the job begins at once; a record without a job is harmless.
        record = Improvement.begin(new_id("job"), settled, name)
        self._records.save(record)
        return self._jobs.submit(
            KIND,
            {
                "config": settled.model_dump(mode="json"),
                "dataset": dataset.model_dump(mode="json"),
                "collection": name,
                "scopes": scopes_of(principal),
            },
            principal_id=principal.id,
            collection_id=settled.collection,
            job_id=record.id,
        )

    def list(self, principal: Principal, limit: int = 50) -> Sequence[Progress]:
        """Return the improvements, the newest first.

        Raises:
            Forbidden: the principal is no administrator.
        """
        principal.needs_admin()
        records = self._records.list()[:limit]
        with self._database.reading() as session:
            return [_progress(session, record) for record in records]

    def get(self, principal: Principal, improvement_id: str) -> Progress:
        """Return an improvement.

        Raises:
            Forbidden: the principal is no administrator.
            NotFound: there is none of that id.
        """
        principal.needs_admin()
        record = self._records.get(improvement_id)
        with self._database.reading() as session:
            return _progress(session, record)

    def report(self, principal: Principal, improvement_id: str, form: Literal["md", "html"]) -> str:
        """Return the report of an improvement as it is now.

        Raises:
            Forbidden, NotFound: as for `get`.
        """
        record = self.get(principal, improvement_id).record
        return as_html(record) if form == "html" else as_markdown(record)

    def _settle(self, principal: Principal, config: ImproveConfig) -> tuple[ImproveConfig, DatasetConfig, str]:
        """Return the order with everything decided, the order for its dataset, and the collection's name."""
        principal.needs_admin()
        with self._database.reading() as session:
            row = owned_collection(session, principal, config.collection)
            documents = _documents(session, row.id)
            collection_id, name = row.id, row.name
        recipes = config.recipes or self._worthwhile()
        for part, options in config.options.items():
            if part != "dataset" and part not in recipes:
                raise InvalidInput(f"Options for {part!r}, which is not to be made", fix=f"Add --make {part}")
            if part != "dataset":
                recipe_of(part).configure(options)
        dataset = _dataset_config(config, collection_id, documents)
        return config.model_copy(update={"collection": collection_id, "recipes": recipes}), dataset, name

    def _worthwhile(self) -> tuple[RecipeName, ...]:
        """Return what is made unless somebody asks for more: adapters take a large model and a GPU to be worth it."""
        try:
            model = self._orders.start_of("sft")
        except ModelMissing:
            return ("embedding",)
        large = count_parameters(model.path) >= _WRITES
        return ("embedding", "sft") if large and self._machine.gpus else ("embedding",)


def _dataset_config(config: ImproveConfig, collection_id: str, documents: int) -> DatasetConfig:
    options = {"test_share": held_out_share(documents)} | config.options.get("dataset", {})
    try:
        return DatasetConfig.model_validate({**options, "collection": collection_id})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            fix = did_you_mean(name, list(DatasetConfig.model_fields))
            raise InvalidInput(f"A dataset has no option {name!r}", fix=fix) from error
        raise InvalidInput(
            f"dataset.{name} = {first['input']!r} does not do: {first['msg']}", fix=f"Set another dataset.{name}"
        ) from error


def _documents(session: Session, collection_id: str) -> int:
    query = sa.select(sa.func.count()).select_from(DocumentRow)
    ready = query.where(DocumentRow.collection_id == collection_id, DocumentRow.state == DocumentState.READY)
    return session.scalar(ready) or 0


def _progress(session: Session, record: Improvement) -> Progress:
    row = session.get(JobRow, record.id)
    if row is None:
        return Progress(record, "gone", 0, 0, cancel_requested=False)
    return Progress(record, str(row.state), row.done, row.total, row.cancel_requested)

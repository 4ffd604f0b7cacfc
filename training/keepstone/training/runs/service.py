"""Order runs of recipes, and watch them.

    runs = Runs(database=database, jobs=jobs, registry=registry, machine=machine, home=home, models=...)
    order = Order(recipe="embedding", dataset="handbook", config={"epochs": 1})
    runs.plan(principal, order).seconds
    runs.get(principal, runs.start(principal, order)).loss

Only administrators may: what a model learns, everybody who uses it can see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from keepstone.platform.access import Principal
from keepstone.platform.database import Database
from keepstone.platform.database.tables import JobRow
from keepstone.platform.errors import Conflict, InvalidInput, NotFound
from keepstone.platform.jobs import Jobs
from keepstone.platform.machine import Machine
from keepstone.platform.models.catalog import Kind
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.training.data.store import Dataset, Datasets
from keepstone.training.recipes import Recipe, recipe
from keepstone.training.recipes.base import Paths, Plan, RecipeConfig
from keepstone.training.runs.folder import RunFolder
from keepstone.training.runs.job import KIND, JobArguments, TrainingJob

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,127}")


class Order(BaseModel):
    """What to train."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    recipe: str
    """`embedding`, `reranker`, `sft` or `quantize`."""
    dataset: str
    """Id of a dataset, or the name of which it is the newest."""
    base: str | None = None
    """Model to start from, `NAME` or `NAME@VERSION`; unset, the one in use."""
    name: str | None = None
    """Of the model to make; unset, that of the start with an ending."""
    config: dict[str, Any] = {}
    """Options of the recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run, as people watch it."""

    id: str
    """Of its job."""
    recipe: str
    dataset: str
    base: str
    name: str
    state: str
    error: str | None
    step: int
    of: int
    loss: float | None
    seconds: float
    """That it has trained for."""
    model: str | None
    """Name and version of what it made."""
    metrics: dict[str, float] = field(default_factory=dict)
    created_at: datetime
    updated_at: datetime


class Runs:
    """The runs of one home folder. Made before `jobs.launch`, since it names their handler.

    Args:
        database: where the jobs are.
        jobs: runs them, one at a time.
        registry: the models.
        machine: for plans.
        home: the folder of all state.
        models: the model in use, by kind.
    """

    def __init__(
        self,
        *,
        database: Database,
        jobs: Jobs,
        registry: ModelRegistry,
        machine: Machine,
        home: Path,
        models: Mapping[Kind, str],
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._registry = registry
        self._machine = machine
        self._models = models
        self._datasets = Datasets(home / "datasets")
        self._folder = home / "runs"
        self._handler = TrainingJob(registry, datasets=self._datasets, runs=self._folder)
        jobs.register(KIND, self._handler, concurrency=1, own_progress=True)

    def plan(self, principal: Principal, order: Order) -> Plan:
        """Return what the run would take; nothing runs.

        Raises:
            Forbidden: the principal is no administrator.
            NotFound: no such recipe or dataset.
            ModelMissing: no such model.
            InvalidInput: an option is wrong, or the dataset has too little for this recipe.
        """
        principal.needs_admin()
        made, config, dataset, base, _name = self._resolve(order)
        return made.plan(
            config, Paths(base=base.path, dataset=dataset.folder, work=self._folder / "plan"), self._machine
        )

    def start(self, principal: Principal, order: Order, *, job_id: str | None = None) -> str:
        """Order a run and return the id of its job.

        Args:
            principal: who orders it.
            order: what to train.
            job_id: as for `Jobs.submit`.

        Raises:
            Forbidden, NotFound, ModelMissing, InvalidInput: as for `plan`.
            Conflict: the new model would have the name of one in use.
        """
        principal.needs_admin()
        made, config, dataset, base, name = self._resolve(order)
        arguments = JobArguments(
            recipe=made.name,
            config=config.model_dump(mode="json"),
            dataset=dataset.id,
            base=base.reference,
            name=name,
        )
        return self._jobs.submit(KIND, arguments.model_dump(mode="json"), principal_id=principal.id, job_id=job_id)

    def list(self, principal: Principal, limit: int = 50) -> Sequence[Run]:
        """Return the runs, newest first.

        Raises:
            Forbidden: the principal is no administrator.
        """
        principal.needs_admin()
        query = sa.select(JobRow).where(JobRow.kind == KIND).order_by(JobRow.created_at.desc(), JobRow.id)
        with self._database.reading() as session:
            rows = list(session.scalars(query.limit(limit)))
        models = self._made()
        return [self._view(row, models) for row in rows]

    def get(self, principal: Principal, run_id: str) -> Run:
        """Return a run.

        Raises:
            Forbidden: the principal is no administrator.
            NotFound: there is none.
        """
        return self._view(self._row(principal, run_id), self._made())

    def curve(self, principal: Principal, run_id: str) -> Sequence[dict[str, Any]]:
        """Return the measures of each step: step, of, loss, lr, seconds.

        Raises:
            Forbidden, NotFound: as for `get`.
        """
        return RunFolder(self._folder / self._row(principal, run_id).id).metrics()

    def cancel(self, principal: Principal, run_id: str) -> None:
        """Stop a run for good.

        Raises:
            Forbidden, NotFound: as for `get`.
        """
        self._jobs.cancel(self._row(principal, run_id).id)

    def _resolve(self, order: Order) -> tuple[Recipe, RecipeConfig, Dataset, InstalledModel, str]:
        made = recipe(order.recipe)
        config = made.configure(order.config)
        dataset = self._datasets.get(order.dataset)
        base = self._registry.get(order.base or self._models[made.base_kind])
        if base.kind != made.base_kind:
            raise InvalidInput(
                f"{base.name} is no {made.base_kind}, which the recipe {made.name} starts from",
                fix="Choose another: `keepstone models list`",
            )
        name = order.name or f"{base.name}-{made.suffix}"
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} cannot be the name of a model", fix="Use a-z, 0-9, dots and dashes")
        if name in self._models.values():
            raise Conflict(f"{name} is in use, and what is trained must be judged first", fix="Choose another name")
        return made, config, dataset, base, name

    def _row(self, principal: Principal, run_id: str) -> JobRow:
        principal.needs_admin()
        with self._database.reading() as session:
            row = session.get(JobRow, run_id)
        if row is None or row.kind != KIND:
            raise NotFound(f"No run {run_id!r}", fix="List them: `keepstone runs list`")
        return row

    def _made(self) -> dict[str, str]:
        """Return the reference of each model that a run made, by the id of the run."""
        return {
            training["job"]: model.reference
            for model in self._registry.list()
            if (training := model.details.get("training"))
        }

    def _view(self, row: JobRow, models: Mapping[str, str]) -> Run:
        arguments = JobArguments.model_validate(row.args)
        folder = RunFolder(self._folder / row.id)
        curve = folder.metrics()
        last = curve[-1] if curve else {}
        ending = folder.ending()
        return Run(
            id=row.id,
            recipe=arguments.recipe,
            dataset=arguments.dataset,
            base=arguments.base,
            name=arguments.name,
            state=row.state,
            error=row.error,
            step=int(last.get("step", 0)),
            of=int(last.get("of", 0)),
            loss=last.get("loss"),
            seconds=float(last.get("seconds", 0.0)),
            model=models.get(row.id),
            metrics=ending.metrics if ending else {},
            created_at=row.created_at,
            updated_at=row.updated_at,
        )

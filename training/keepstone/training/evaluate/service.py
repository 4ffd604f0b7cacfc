"""Order the judging of a candidate, and see beforehand what it would take.

    job_id = evaluations.submit(principal, Evaluation(candidate="all-minilm-l6-v2-tuned", dataset="handbook"))

The work is a durable job of the kind `judge`: the candidate encoder's index is built beside the one in use, or the
candidate language model is served beside the one in use, and then the judge puts the held-out questions to both. What
comes of it is a stored verdict; nothing is promoted here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from keepstone.agents.types import AnsweringModel
from keepstone.platform.access import Principal, find_collection
from keepstone.platform.database import Database
from keepstone.platform.errors import Conflict, InvalidInput
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.platform.serving.engine import Engine
from keepstone.training.acting import acting_principal
from keepstone.training.data import Dataset, DatasetLibrary
from keepstone.training.evaluate.gate import MIN_DOCUMENTS, MIN_QUESTIONS, Goal
from keepstone.training.evaluate.held_out import held_out
from keepstone.training.evaluate.judge import MOST_ANSWERS, MOST_SEARCHES, Contender, Judge, goal_of

KIND = "judge"
_JUDGED = ("encoder", "llm", "adapter")
# As measured with the starter models on two cores: each question is put to both models, with its document and without.
_SECONDS = {"encoder": 0.35, "llm": 2.0}


class Evaluation(BaseModel):
    """What is to be judged."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    candidate: str
    """An encoder, adapter or language model, `NAME` or `NAME@VERSION`."""
    dataset: str
    """Id or name of the dataset whose held-out questions are put."""


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What a judging would take."""

    candidate: str
    live: str
    """The model that it is compared with."""
    goal: Goal
    collection: str
    dataset: str
    questions: int
    documents: int
    """That these questions are about."""
    seconds: float
    """Roughly, on a small machine, without building an index or starting an engine."""
    warnings: tuple[str, ...]


class Building(Protocol):
    """Builds the index of a collection under an encoder, beside the one in use; if it is there, does nothing."""

    def __call__(self, collection_id: str, version: str, *, report: Callable[[int, int], None]) -> None:
        """Build it; what `report` raises ends the work, which goes on where it was when called again."""
        ...


class Evaluations:
    """Orders judgings, and does them as jobs. Made before `jobs.launch`, since it names their handler.

    Args:
        database: where collections and people are.
        jobs: runs the judgings.
        registry: the models.
        datasets: whose held-out questions are put.
        judge: judges.
        build_index: for encoders.
        connect: gives a client of the language model in use, for an event loop of its own.
        model: tells which language model that is now.
        serve: serves another one beside it, by its reference.
    """

    def __init__(
        self,
        *,
        database: Database,
        jobs: Jobs,
        registry: ModelRegistry,
        datasets: DatasetLibrary,
        judge: Judge,
        build_index: Building,
        connect: Callable[[], Engine],
        model: Callable[[], AnsweringModel],
        serve: Callable[[str], AbstractAsyncContextManager[Engine]],
    ) -> None:
        self._database, self._jobs, self._registry, self._datasets = database, jobs, registry, datasets
        self._judge, self._build_index = judge, build_index
        self._connect, self._model, self._serve = connect, model, serve
        jobs.register(KIND, self, own_progress=True)

    def preview(self, principal: Principal, order: Evaluation) -> EvaluationPlan:
        """Return what a judging would take; nothing runs.

        Raises:
            Forbidden: the principal is no administrator.
            NotFound: there is no such dataset, or its collection is gone.
            ModelMissing: there is no such model.
            InvalidInput: it cannot be judged, or the dataset was changed.
            Conflict: it is the model in use.
        """
        dataset, candidate, live = self._settle(principal, order)
        kind = "encoder" if candidate.kind == "encoder" else "llm"
        most = MOST_SEARCHES if kind == "encoder" else MOST_ANSWERS
        questions = held_out(self._database, dataset, most=most)
        documents = len({question.document for question in questions})
        warnings = []
        if len(questions) < MIN_QUESTIONS or documents < MIN_DOCUMENTS:
            warnings.append(
                f"This is not enough for a verdict, which takes {MIN_QUESTIONS} questions about {MIN_DOCUMENTS} "
                f"documents: hold out more with `keepstone data build --test-share`"
            )
        return EvaluationPlan(
            candidate=candidate.reference,
            live=live,
            goal=goal_of(candidate),
            collection=dataset.card.collection,
            dataset=dataset.id,
            questions=len(questions),
            documents=documents,
            seconds=_SECONDS[kind] * len(questions),
            warnings=tuple(warnings),
        )

    def submit(self, principal: Principal, order: Evaluation, *, job_id: str | None = None) -> str:
        """Order a judging and return the id of its job.

        Args:
            principal: who orders it.
            order: what is to be judged.
            job_id: as for `Jobs.submit`.

        Raises:
            Forbidden, NotFound, ModelMissing, InvalidInput, Conflict: as for `preview`.
        """
        dataset, candidate, _ = self._settle(principal, order)
        settled = Evaluation(candidate=candidate.reference, dataset=dataset.id)
        return self._jobs.submit(
            KIND,
            {"order": settled.model_dump(), "scopes": sorted(principal.scopes)},
            principal_id=principal.id,
            collection_id=dataset.card.collection_id,
            job_id=job_id,
        )

    def plan(self, job: JobInfo) -> list[Any]:
        """An encoder's index is built first."""
        order = Evaluation.model_validate(job.args["order"])
        return ["index", "judge"] if self._registry.get(order.candidate).kind == "encoder" else ["judge"]

    def run(self, job: JobInfo, unit: Any) -> None:
        """Build the index, or judge."""
        order = Evaluation.model_validate(job.args["order"])
        with self._database.reading() as session:
            principal = acting_principal(session, job)
        dataset, candidate, _ = self._settle(principal, order)

        def report(done: int, total: int) -> None:
            job.check_cancelled()
            job.progress(done, total)

        if unit == "index":
            self._build_index(dataset.card.collection_id, candidate.reference, report=report)
        elif candidate.kind == "encoder":
            self._judge.judge_encoder(principal, dataset, candidate, key=job.id, report=report)
        else:
            asyncio.run(self._judge_model(principal, dataset, candidate, job.id, report))

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Delete what was measured; what a failed job measured stays, for a retry."""
        if error is None or job.cancelled:
            self._judge.forget(job.id)

    async def _judge_model(
        self,
        principal: Principal,
        dataset: Dataset,
        candidate: InstalledModel,
        key: str,
        report: Callable[[int, int], None],
    ) -> None:
        live = self._model()
        challenger = AnsweringModel(candidate.name, candidate.version, live.style)

        def watch(done: int, total: int) -> None:
            if self._model() != live:
                raise Conflict("Another language model came into use during the judging", fix="Judge it against that")
            report(done, total)

        engine = self._connect()
        try:
            async with self._serve(candidate.reference) as served:
                await self._judge.judge_model(
                    principal,
                    dataset,
                    candidate,
                    live=Contender(engine, live),
                    challenger=Contender(served, challenger),
                    key=key,
                    report=watch,
                )
        finally:
            await engine.close()

    def _settle(self, principal: Principal, order: Evaluation) -> tuple[Dataset, InstalledModel, str]:
        """Return the dataset, the candidate and the reference of the model in use."""
        principal.needs_admin()
        dataset = self._datasets.get(principal, order.dataset)
        candidate = self._registry.get(order.candidate)
        if candidate.kind not in _JUDGED:
            raise InvalidInput(
                f"{candidate.reference} is a {candidate.kind}, which nothing uses yet",
                fix=f"Judge one of these kinds: {', '.join(_JUDGED)}; see `keepstone models list`",
            )
        with self._database.reading() as session:
            collection = find_collection(session, principal, dataset.card.collection_id)
        model = self._model()
        live = collection.encoder if candidate.kind == "encoder" else f"{model.name}@{model.version}"
        if live == candidate.reference:
            raise Conflict(f"{live} is the model in use", fix="Judge another one: `keepstone models list`")
        return dataset, candidate, live

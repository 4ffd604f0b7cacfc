"""What an improvement orders from the other services, and what it reads from what they made.

Every order has the id of its job given, so that an order that is given twice is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from keepstone.platform.access import Principal
from keepstone.platform.errors import Conflict, InvalidInput, ModelMissing
from keepstone.platform.models.catalog import Kind
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.retrieval.reindex import Reindexing
from keepstone.training.data import Dataset, DatasetBuilder, DatasetConfig, DatasetLibrary
from keepstone.training.evaluate.service import Evaluation, Evaluations
from keepstone.training.evaluate.verdicts import Verdict, Verdicts
from keepstone.training.improve.config import RecipeName
from keepstone.training.improve.record import Judgement, Measure
from keepstone.training.promotion import Order as PromotionOrder
from keepstone.training.promotion import Promotions
from keepstone.training.runs import Order, Runs

_MOST_POINTS = 400
"""So many points of a curve are kept in a record."""


class Orders:
    """The services that an improvement is made of.

    Args:
        registry: the models.
        models: the models that the settings name, by kind; trainings start from these.
        builder: makes datasets.
        datasets: that there are.
        runs: trains.
        evaluations: judges.
        verdicts: what came of that.
        promotions: promotes.
        reindexing: keeps the indexes of candidates.
    """

    def __init__(
        self,
        *,
        registry: ModelRegistry,
        models: Mapping[Kind, str],
        builder: DatasetBuilder,
        datasets: DatasetLibrary,
        runs: Runs,
        evaluations: Evaluations,
        verdicts: Verdicts,
        promotions: Promotions,
        reindexing: Reindexing,
    ) -> None:
        self._registry, self._models = registry, models
        self._builder, self._datasets, self._runs = builder, datasets, runs
        self._evaluations, self._verdicts = evaluations, verdicts
        self._promotions, self._reindexing = promotions, reindexing

    def given_dataset(self, principal: Principal, reference: str, collection_id: str) -> Dataset:
        """Return a dataset that is to be used as it is.

        Raises:
            NotFound: there is none that the principal may see.
            InvalidInput: it was made from another collection.
        """
        found = self._datasets.get(principal, reference)
        if found.card.collection_id != collection_id:
            raise InvalidInput(
                f"The dataset {found.id} was made from another collection, {found.card.collection!r}",
                fix="Leave --dataset out, and a new one is built",
            )
        return found

    def build(self, principal: Principal, config: DatasetConfig, *, job_id: str) -> str:
        """Order a dataset."""
        return self._builder.submit(principal, config, job_id=job_id)

    def built(self, job_id: str) -> Dataset:
        """Return the dataset that a job built.

        Raises:
            Conflict: it was deleted, or built again by somebody else meanwhile.
        """
        for each in self._datasets.store.list():
            if each.built is not None and each.built.job == job_id:
                return each
        raise Conflict("The dataset of this improvement is gone", fix="Order another: `keepstone improve`")

    def start_of(self, recipe: RecipeName) -> InstalledModel:
        """Return the model that a recipe starts from: the one of the settings, never one that was tuned before.

        Each improvement sees all that there is to learn, so it needs no earlier one; and what was held out from this
        one may have been learned from in that.

        Raises:
            ModelMissing: it is not on this machine.
        """
        return self._registry.get(self._models["encoder" if recipe == "embedding" else "llm"])

    def train(
        self, principal: Principal, recipe: RecipeName, dataset: str, options: Mapping[str, Any], *, job_id: str
    ) -> str:
        """Order a training."""
        order = Order(recipe=recipe, dataset=dataset, base=self.start_of(recipe).reference, config=dict(options))
        return self._runs.start(principal, order, job_id=job_id)

    def trained(self, principal: Principal, job_id: str) -> dict[str, Any]:
        """Return what a training made, as a candidate records it.

        Raises:
            ModelMissing: the model was removed meanwhile.
        """
        run = self._runs.get(principal, job_id)
        if run.model is None:
            raise ModelMissing("The model of this improvement is gone", fix="Order another: `keepstone improve`")
        training = self._registry.get(run.model).details["training"]
        curve = self._runs.curve(principal, job_id)
        every = -(-len(curve) // _MOST_POINTS) or 1
        return {
            "run": run.id,
            "model": run.model,
            "base": run.base,
            "config": training["config"],
            "metrics": run.metrics,
            "curve": tuple(curve[::every]),
        }

    def live(self, principal: Principal, recipe: RecipeName, collection_id: str) -> str:
        """Return name and version of the model in use that a recipe's product would replace."""
        return self._promotions.live(principal, collection=collection_id if recipe == "embedding" else None)

    def judge(self, principal: Principal, model: str, dataset: str, *, job_id: str) -> str:
        """Order a judging."""
        return self._evaluations.submit(principal, Evaluation(candidate=model, dataset=dataset), job_id=job_id)

    def judged(self, principal: Principal, job_id: str) -> tuple[str, Judgement]:
        """Return which model a candidate was compared with, and what came of it.

        Raises:
            NotFound: the verdict is gone.
        """
        verdict = self._verdicts.get(principal, job_id)
        return verdict.case.live, _judgement(verdict)

    def discard(self, recipe: RecipeName, model: str, collection_id: str) -> None:
        """Let go of the index that a refused encoder was judged with; who promotes it all the same has it built."""
        if recipe == "embedding":
            with suppress(Conflict):  # somebody has put it into use meanwhile
                self._reindexing.discard(collection_id, model)

    def writes_questions(self, config: DatasetConfig) -> bool:
        """Tell whether the language model is to write the questions of a dataset."""
        return self._builder.source_of(config) == "written"

    def promote(
        self, principal: Principal, recipe: RecipeName, model: str, collection_id: str, verdict: str, *, job_id: str
    ) -> str:
        """Order a promotion."""
        collection = collection_id if recipe == "embedding" else None
        order = PromotionOrder(model=model, collection=collection, verdict_id=verdict)
        return self._promotions.order(principal, order, job_id=job_id)


def _judgement(verdict: Verdict) -> Judgement:
    return Judgement(
        verdict=verdict.id,
        outcome=verdict.outcome,
        reasons=verdict.reasons,
        measures=tuple(
            Measure(
                name=figure.name,
                role=figure.role,
                live=figure.effect.live,
                candidate=figure.effect.candidate,
                value=figure.effect.value,
                low=figure.effect.low,
                high=figure.effect.high,
                questions=figure.effect.questions,
                documents=figure.effect.documents,
            )
            for figure in verdict.figures
        ),
    )

"""A promotion or a rollback as a durable job: it goes on after a restart, and done twice it is done once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from keepstone.platform.access import Principal
from keepstone.platform.database import Database
from keepstone.platform.errors import Conflict, EngineUnavailable, KeepstoneError
from keepstone.platform.jobs.base import JobInfo
from keepstone.training.acting import acting_principal

if TYPE_CHECKING:
    from keepstone.training.promotion.service import Promotions

KIND = "promote"


class Order(BaseModel):
    """What to promote, or to roll back."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: str | None = None
    """Name, or `NAME@VERSION`, of what is to become live; unset: roll back the last promotion."""
    collection: str | None = None
    """Whose encoder it is to be; unset for language models."""
    verdict_id: str | None = None
    """The verdict that it rests on; unset: the newest one over that model."""
    force: bool = False
    """Promote without a verdict that says so."""
    undoes: str | None = None
    """Set by us: the promotion that a rollback takes back, so that trying again does not take back another."""


class PromotionJob:
    """Does what was ordered, in one unit.

    Args:
        promotions: does it.
        database: who ordered it is looked up there.
    """

    def __init__(self, promotions: Promotions, database: Database) -> None:
        self._promotions = promotions
        self._database = database

    def plan(self, job: JobInfo) -> list[Any]:
        """Return the one unit."""
        del job
        return ["all"]

    def run(self, job: JobInfo, unit: Any) -> None:
        """Promote or roll back, unless an earlier try has."""
        del unit
        order = Order.model_validate(job.args["order"])
        with self._database.reading() as session:
            principal = acting_principal(session, job)
        try:
            self._do(job, order, principal)
        except EngineUnavailable as error:
            # The engine was given all its time to start: trying again would only take as long again.
            raise KeepstoneError(error.message, fix=error.fix) from error

    def _do(self, job: JobInfo, order: Order, principal: Principal) -> None:
        where = order.collection
        if order.model is None:
            if self._undoable(principal, where) == order.undoes:
                self._promotions.rollback(principal, collection=where, report=job.progress, check=job.check_cancelled)
        elif self._promotions.live(principal, collection=where) != order.model:
            self._promotions.promote(
                principal,
                order.model,
                collection=where,
                verdict_id=order.verdict_id,
                force=order.force,
                report=job.progress,
                check=job.check_cancelled,
            )

    def _undoable(self, principal: Principal, collection: str | None) -> str | None:
        try:
            return self._promotions.last(principal, collection=collection).id
        except Conflict:
            return None

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Nothing is left to tidy up."""
        del job, error

"""Promote a model, and take that back.

    promotions = Promotions(database=database, registry=registry, candidates=candidates, reindexing=reindexing, ...)
    promotions.promote(principal, "all-minilm-l6-v2-tuned", collection="handbook", verdict_id=verdict.id)
    promotions.rollback(principal, collection="handbook")
    promotions.order(principal, Order(model="smollm2-135m-instruct-sft"))      # the same, as a durable job

An encoder becomes that of one collection: its index is built beside the live one if it is not there yet, and searches
use it from one moment to the next. A language model or an adapter answers for all, from the moment that its engine
took over. Only administrators may.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from keepstone.platform.access import Principal, find_collection
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, VerdictRow
from keepstone.platform.errors import Conflict, EngineUnavailable, InvalidInput
from keepstone.platform.jobs import Jobs
from keepstone.platform.models.promotions import Promotion, PromotionRecords, Subject
from keepstone.platform.models.registry import InstalledModel, ModelRegistry
from keepstone.platform.serving.candidates import Candidates, language_model
from keepstone.platform.serving.promoted import live_language_model
from keepstone.retrieval.reindex import Reindexing
from keepstone.training.acting import scopes_of
from keepstone.training.promotion.job import KIND, Order, PromotionJob

Report = Callable[[int, int], None]
Check = Callable[[], None]
log = structlog.get_logger(__name__)


def _tell_nobody(_done: int, _total: int) -> None:
    """Report to nobody."""


def _go_on() -> None:
    """Never stop."""


@dataclass(frozen=True, slots=True)
class _Target:
    """What is to become live where."""

    subject: Subject
    model: InstalledModel
    collection_id: str | None


class Promotions:
    """The promotions of one installation. Made before `jobs.launch`, since it names their handler.

    Args:
        database: where they are recorded.
        registry: the models.
        candidates: serves language models.
        reindexing: builds and switches indexes.
        setting: `engine.model`.
        jobs: runs them where they are ordered.
    """

    def __init__(
        self,
        *,
        database: Database,
        registry: ModelRegistry,
        candidates: Candidates,
        reindexing: Reindexing,
        setting: str,
        jobs: Jobs,
    ) -> None:
        self._database = database
        self._registry = registry
        self._candidates = candidates
        self._reindexing = reindexing
        self._setting = setting
        self._jobs = jobs
        self._records = PromotionRecords(database)
        jobs.register(KIND, PromotionJob(self, database), own_progress=True)

    def promote(
        self,
        principal: Principal,
        reference: str,
        *,
        collection: str | None = None,
        verdict_id: str | None = None,
        force: bool = False,
        report: Report = _tell_nobody,
        check: Check = _go_on,
    ) -> Promotion:
        """Make a model live and return the record of that. If it fails or is killed, what was live stays live.

        Args:
            principal: who says so.
            reference: an encoder, a language model or an adapter.
            collection: whose encoder; required for encoders.
            verdict_id: the verdict that it rests on; None: the newest one over that model.
            force: whether to do so without a verdict that says `promote`.
            report: told how many passages of how many have their vectors, while an index is built.
            check: called often meanwhile; raises to stop.

        Raises:
            Forbidden: the principal is no administrator.
            ModelMissing, NotFound: no such model or collection.
            InvalidInput: the model cannot become live there, or the engine refuses it.
            Conflict: no verdict says so, or it is live already.
            LimitExceeded, EngineUnavailable: it cannot be served.
        """
        target = self._target(principal, reference, collection)
        verdict = self._require_verdict(target, verdict_id, force=force)
        before = self._live(target.subject, target.collection_id)
        if before == target.model.reference:
            raise Conflict(f"{before} is live already", fix="See `keepstone models history`")
        promotion_id = self._records.begin(
            subject=target.subject,
            collection_id=target.collection_id,
            model=target.model.reference,
            previous=before,
            setting=self._setting,
            verdict_id=verdict,
            principal_id=principal.id,
        )
        try:
            self._make_live(
                target.model.reference,
                target.collection_id,
                lambda: self._records.made_live(promotion_id),
                report,
                check,
            )
        except BaseException:
            self._give_up(promotion_id)
            raise
        log.info("promoted", subject=target.subject, model=target.model.reference, before=before)
        return self._records.get(promotion_id)

    def rollback(
        self,
        principal: Principal,
        *,
        collection: str | None = None,
        report: Report = _tell_nobody,
        check: Check = _go_on,
    ) -> Promotion:
        """Take back the last promotion that is live, and return its record.

        Args:
            principal: who says so.
            collection: whose encoder; None: the language model.
            report: as for `promote`, should the index have to be built again.
            check: so is this.

        Raises:
            Forbidden: the principal is no administrator.
            NotFound: no such collection.
            Conflict: nothing was promoted there.
            ModelMissing, LimitExceeded, EngineUnavailable: what was live before cannot be served any more.
        """
        last = self.last(principal, collection=collection)
        self._make_live(last.previous, last.collection_id, lambda: self._records.undone(last.id), report, check)
        log.info("rolled_back", subject=last.subject, model=last.previous, before=last.model)
        return self._records.get(last.id)

    def live(self, principal: Principal, *, collection: str | None = None) -> str:
        """Return name and version of the live language model, or of a collection's encoder.

        Raises:
            NotFound: no such collection.
        """
        principal.needs_scope("read")
        if collection is None:
            return self._live("llm", None)
        return self._live("encoder", self._collection(principal, collection))

    def last(self, principal: Principal, *, collection: str | None = None) -> Promotion:
        """Return the promotion that `rollback` would take back.

        Raises:
            Forbidden, NotFound, Conflict: as for `rollback`.
        """
        principal.needs_admin()
        if collection is None:
            found = self._records.last("llm", setting=self._setting)
        else:
            found = self._records.last("encoder", collection_id=self._collection(principal, collection))
        if found is None:
            raise Conflict("Nothing was promoted there that could be rolled back", fix="See `keepstone models history`")
        return found

    def history(self, principal: Principal, limit: int = 50) -> Sequence[Promotion]:
        """Return all promotions, the newest first.

        Raises:
            Forbidden: the principal is no administrator.
        """
        principal.needs_admin()
        return self._records.list(limit)

    def order(self, principal: Principal, order: Order, *, job_id: str | None = None) -> str:
        """Have a promotion or a rollback done as a job, and return its id.

        Args:
            principal: who says so.
            order: what is to become live, or to be taken back.
            job_id: as for `Jobs.submit`.

        Raises:
            Forbidden, ModelMissing, NotFound, InvalidInput, Conflict: as for `promote` and `rollback`.
            EngineUnavailable: this process does not run the engine.
        """
        principal.needs_admin()
        if order.model is not None:
            target = self._target(principal, order.model, order.collection)
            self._require_verdict(target, order.verdict_id, force=order.force)
            collection_id = target.collection_id
            # The version of now, whatever is installed under that name until the job begins.
            order = order.model_copy(update={"model": target.model.reference, "collection": collection_id})
        else:
            last = self.last(principal, collection=order.collection)
            collection_id = last.collection_id
            order = order.model_copy(update={"collection": collection_id, "undoes": last.id})
        args = {"order": order.model_dump(mode="json"), "scopes": scopes_of(principal)}
        return self._jobs.submit(KIND, args, principal_id=principal.id, collection_id=collection_id, job_id=job_id)

    def settle(self) -> None:
        """Bring the history up to what is the case, after an earlier process died; before `jobs.launch`."""
        self._records.settle()

    def _target(self, principal: Principal, reference: str, collection: str | None) -> _Target:
        principal.needs_admin()
        model = self._registry.get(reference)
        if model.kind == "encoder":
            if collection is None:
                raise InvalidInput(
                    f"{model.name} is an encoder, which becomes live for one collection", fix="Say --collection NAME"
                )
            return _Target("encoder", model, self._collection(principal, collection))
        if model.kind not in ("llm", "adapter"):
            raise InvalidInput(f"{model.name} is a {model.kind}, which cannot be promoted", fix="Promote another model")
        if collection is not None:
            raise InvalidInput(f"{model.name} answers for all collections", fix="Leave --collection out")
        if not self._candidates.engines.started:
            raise EngineUnavailable("The engine is not running", fix="Start it: `keepstone up`")
        return _Target("llm", model, None)

    def _collection(self, principal: Principal, name: str) -> str:
        with self._database.reading() as session:
            return find_collection(session, principal, name, "own").id

    def _require_verdict(self, target: _Target, verdict_id: str | None, *, force: bool) -> str | None:
        """Return the id of the verdict that speaks for the target; with `force`, of any that there is."""
        reference, before = target.model.reference, self._live(target.subject, target.collection_id)
        wanted = [VerdictRow.candidate == reference]
        if target.collection_id is not None:
            wanted.append(VerdictRow.collection_id == target.collection_id)
        if verdict_id is not None:
            wanted.append(VerdictRow.id == verdict_id)
        newest = sa.select(VerdictRow).where(*wanted).order_by(VerdictRow.created_at.desc(), VerdictRow.id).limit(1)
        with self._database.reading() as session:
            verdict = session.scalars(newest).first()
        if verdict is None:
            objection = "it has not been judged" if verdict_id is None else f"there is no verdict {verdict_id} over it"
        elif verdict.outcome != "promote":
            objection = f"the verdict over it is '{verdict.outcome}'"
        elif verdict.live != before:
            objection = f"it was judged against {verdict.live}, and {before} is live now"
        else:
            return verdict.id
        if force:
            return verdict.id if verdict else None
        raise Conflict(
            f"{reference} is not promoted: {objection}",
            fix="Judge it: `keepstone evaluate`. To promote it all the same, add --force",
        )

    def _live(self, subject: Subject, collection_id: str | None) -> str:
        if subject == "llm":
            return live_language_model(self._registry, self._setting).reference
        with self._database.reading() as session:
            return session.get_one(CollectionRow, collection_id).encoder

    def _make_live(
        self, reference: str, collection_id: str | None, commit: Callable[[], None], report: Report, check: Check
    ) -> None:
        """Switch to a model; `commit` records that."""
        if collection_id is None:
            self._hand_over(self._registry.get(reference), commit)
            return
        self._reindexing.build(collection_id, reference, report=report, check=check)
        self._reindexing.switch(collection_id, reference)
        commit()

    def _hand_over(self, model: InstalledModel, commit: Callable[[], None]) -> None:
        if not self._candidates.available:
            # Nothing runs that could answer: what is recorded decides what the next start serves.
            commit()
            return
        engines = self._candidates.engines
        served = language_model(self._registry, model, engines.live.served.model.base)
        with engines.prepared(served) as prepared:
            engines.take_over(prepared, commit)

    def _give_up(self, promotion_id: str) -> None:
        if self._records.get(promotion_id).live_at is None:
            self._records.undone(promotion_id)

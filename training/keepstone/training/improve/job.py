"""The kind of job `improve`: a chain of jobs of other kinds, each of which can be killed at any line.

It orders a dataset, trainings, judgings and promotions under ids of its own, waits for each, and writes down what came
of it. After a kill it meets the order in hand again, which has gone on by itself; tried again after a failure, it tries
again what failed, which goes on where it was.
"""

from __future__ import annotations

import time
from typing import Any, cast

import structlog

from keepstone.platform.database import Database
from keepstone.platform.database.tables import OPEN_JOBS, JobState, utc_now
from keepstone.platform.errors import Cancelled, KeepstoneError
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.training.acting import acting_principal
from keepstone.training.data import DatasetConfig
from keepstone.training.improve.config import ImproveConfig, RecipeName
from keepstone.training.improve.orders import Orders
from keepstone.training.improve.record import Improvement, Records
from keepstone.training.improve.report import VERDICTS, as_html, as_markdown
from keepstone.training.improve.stages import DATASET, require_testable
from keepstone.training.improve.step import Step

KIND = "improve"
_POLL_S = 0.3
log = structlog.get_logger(__name__)


class ImproveJob:
    """Handler of the jobs `improve`.

    Args:
        database: where people and collections are.
        jobs: where the steps are ordered.
        orders: how.
        records: where it is written down what came of them.
    """

    def __init__(self, database: Database, jobs: Jobs, orders: Orders, records: Records) -> None:
        self._database, self._jobs, self._orders, self._records = database, jobs, orders, records

    def plan(self, job: JobInfo) -> list[Any]:
        """Begin the record, or go on with that of an earlier try."""
        config = ImproveConfig.model_validate(job.args["config"])
        record = self._records.find(job.id) or Improvement.begin(job.id, config, job.args["collection"])
        self._records.save(record.model_copy(update={"error": None, "ended_at": None, "cancelled": False}))
        return [stage.name for stage in record.stages]

    def run(self, job: JobInfo, unit: Any) -> None:
        """Take one step; one that was taken is not taken again."""
        with self._database.reading() as session:
            principal = acting_principal(session, job)
        step = Step(job, principal, str(unit), self._records)
        if step.stage.state in ("done", "skipped"):
            return
        step.note(state="running", began_at=utc_now())
        began = time.monotonic()
        try:
            self._take(step)
        except BaseException:
            step.note(state="waiting", seconds=step.stage.seconds + time.monotonic() - began)
            raise
        state = "done" if step.stage.state == "running" else step.stage.state
        step.note(state=state, seconds=step.stage.seconds + time.monotonic() - began)

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Write the report, whatever came of it."""
        record = self._records.find(job.id)
        if record is None:
            return
        record = record.model_copy(update={"ended_at": utc_now(), "error": error, "cancelled": job.cancelled})
        self._records.save(record)
        self._records.write(f"{job.id}.md", as_markdown(record))
        self._records.write(f"{job.id}.html", as_html(record))
        log.info("improvement_ended", outcome=record.summary if error is None else "failed")

    def _take(self, step: Step) -> None:
        what, _, named = step.name.partition(" ")
        if what == DATASET:
            self._build(step)
            return
        recipe = cast("RecipeName", named)
        {"train": self._train, "judge": self._judge, "promote": self._promote}[what](step, recipe)

    def _build(self, step: Step) -> None:
        config = step.record.config
        if config.dataset is not None:
            dataset = self._orders.given_dataset(step.principal, config.dataset, step.record.collection_id)
        else:
            wanted = DatasetConfig.model_validate(step.job.args["dataset"])
            child = self._orders.build(step.principal, wanted, job_id=step.child)
            self._complete(step, child)
            dataset = self._orders.built(child)
        dataset.verify()
        train, test = require_testable(dataset)
        step.change(dataset=dataset.id, card=dataset.card)
        step.note(said=f"{train} questions to learn from, {test} held out")

    def _train(self, step: Step, recipe: RecipeName) -> None:
        record = step.record
        assert record.dataset is not None, "that step came before"
        options = record.config.options.get(recipe, {})
        child = self._orders.train(step.principal, recipe, record.dataset, options, job_id=step.child)
        self._complete(step, child)
        run = self._orders.trained(step.principal, child)
        live = self._orders.live(step.principal, recipe, record.collection_id)
        step.note_candidate(recipe, live=live, **run)
        step.note(said=f"made {run['model']}")

    def _judge(self, step: Step, recipe: RecipeName) -> None:
        made = step.record.candidate(recipe)
        assert step.record.dataset is not None
        assert made.model is not None, "that step came before"
        if made.model == made.live:
            step.note(state="skipped", said="The training made what is in use: there was nothing new to learn.")
            return
        child = self._orders.judge(step.principal, made.model, step.record.dataset, job_id=step.child)
        self._complete(step, child)
        live, judgement = self._orders.judged(step.principal, child)
        step.note_candidate(recipe, live=live, judgement=judgement)
        if judgement.outcome != "promote":
            self._orders.discard(recipe, made.model, step.record.collection_id)
        step.note(said=f"the verdict: {VERDICTS[judgement.outcome].lower()}")

    def _promote(self, step: Step, recipe: RecipeName) -> None:
        record, made = step.record, step.record.candidate(recipe)
        passed = made.judgement is not None and made.judgement.outcome == "promote"
        if not passed or not record.config.promote:
            said = "It waits for somebody to promote it." if passed else "The model in use stays."
            step.note(state="skipped", said=said)
            return
        assert made.model is not None
        assert made.judgement is not None
        child = self._orders.promote(
            step.principal, recipe, made.model, record.collection_id, made.judgement.verdict, job_id=step.child
        )
        self._complete(step, child)
        step.note_candidate(recipe, promoted=True)
        step.note(said=f"{made.model} is in use")

    def _complete(self, step: Step, child: str) -> None:
        """Wait for the end of a job that we ordered; one that failed in an earlier try is tried again.

        Raises:
            Cancelled: we are to stop, and so is that job.
            KeepstoneError: it failed.
        """
        step.note(job=child)
        if self._jobs.get(child).state in (JobState.FAILED, JobState.CANCELLED):
            self._jobs.retry(child)
        while (row := self._jobs.get(child)).state in OPEN_JOBS:
            try:
                step.job.check_cancelled()
            except Cancelled:
                self._jobs.cancel(child)
                raise
            step.progress(row.done, row.total)
            time.sleep(_POLL_S)
        if row.state != JobState.SUCCEEDED:
            raise KeepstoneError(row.error or f"The step {step.name!r} was {row.state}")

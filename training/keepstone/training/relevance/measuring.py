"""The job kind `evaluate`: how well is a collection searched?

    job_id = measuring.submit(principal, "handbook")
    measuring.report(principal, job_id).figures

The questions are kept when the job begins, or made by its first units; each further unit asks some of them. So a kill
costs some seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from keepstone.platform.access import Principal
from keepstone.platform.database import Database
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.retrieval.search import Searcher
from keepstone.training.acting import scopes_of
from keepstone.training.relevance.asking import Asking, Wanted
from keepstone.training.relevance.evaluation import Evaluator
from keepstone.training.relevance.judgements import Judgement
from keepstone.training.relevance.making import QuestionMaker
from keepstone.training.relevance.measure import Report, measure
from keepstone.training.relevance.reports import Reports

KIND: Final = "evaluate"
_SHARES: Final = 8


class Measuring:
    """Evaluations of collections, as jobs.

    Args:
        database: where jobs and collections are.
        searcher: searches.
        evaluator: knows the judged questions and the way in use.
        maker: makes questions where none were judged.
        folder: where measurements and reports are kept.
        jobs: where the work is queued; this object registers itself there.
    """

    def __init__(
        self,
        *,
        database: Database,
        searcher: Searcher,
        evaluator: Evaluator,
        maker: QuestionMaker,
        folder: Path,
        jobs: Jobs,
    ) -> None:
        self._searcher, self._evaluator, self._jobs = searcher, evaluator, jobs
        self._reports = Reports(database, folder, kind=KIND, of=Report)
        self._reports.tidy()
        self._asking = Asking(database, evaluator, maker, self._reports)
        jobs.register(KIND, self)

    def submit(
        self,
        principal: Principal,
        collection: str,
        *,
        k: int = 10,
        judgements: Sequence[Judgement] | None = None,
        questions: Wanted = "auto",
    ) -> str:
        """Order an evaluation and return the job's id.

        Args:
            principal: who owns the collection.
            collection: name or id.
            k: how many of the first places count.
            judgements: to be used instead of those that the collection has, and of what people thought of answers.
            questions: which are asked, where no judgements are handed in.

        Raises:
            InvalidInput: there is no judged question whose answer is in the collection, nor can any be made.
        """
        asked = self._asking.settle(principal, collection, judgements, questions)
        given = None if judgements is None else [each.model_dump(exclude_defaults=True) for each in judgements]
        args = {"k": k, "judgements": given, "questions": questions, "scopes": scopes_of(principal)}
        return self._jobs.submit(KIND, args, principal_id=principal.id, collection_id=asked.collection_id)

    def report(self, principal: Principal, job_id: str) -> Report:
        """Return what an evaluation came to.

        Raises:
            NotFound: there is none of this id, it is another's, or it has not ended.
        """
        return self._reports.get(principal, job_id)

    def plan(self, job: JobInfo) -> list[Any]:
        """Keep the questions, or what makes them; the units `["ask", n]` ask every eighth from the n-th on."""
        return [*self._asking.plan(job), *(["ask", share] for share in range(_SHARES))]

    def run(self, job: JobInfo, unit: Any) -> None:
        """Make some of the questions, or ask some."""
        if unit[0] == "make":
            self._asking.make(job, unit)
            return

        def ask() -> list[dict[str, float]]:
            asked, scope = self._asking.asked(job), self._asking.scope(job)
            some = asked.questions[unit[1] :: _SHARES]
            return measure(self._searcher, scope, some, asked.way, k=job.args["k"], check=job.check_cancelled)

        self._reports.measured(job).remember(ask, "scores", unit[1])

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Put the report together, and write it."""
        kept = self._reports.measured(job)
        # When this is run once more after a kill, the report may be written and the rest gone.
        if error is None and kept.find("asked"):
            asked = self._asking.asked(job)
            shares = [kept.find("scores", share) for share in range(_SHARES)]
            scores = [shares[place % _SHARES][place // _SHARES] for place in range(len(asked.questions))]
            self._reports.keep(job.id, self._evaluator.report(asked, scores, job.args["k"]))
        self._asking.forget(job)

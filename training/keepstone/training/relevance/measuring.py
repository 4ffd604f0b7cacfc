"""The job kind `evaluate`: how well is a collection searched?

    job_id = measuring.submit(principal, "handbook")
    measuring.report(principal, job_id).figures

The questions are kept when the job begins; each unit asks some of them. So a kill costs some seconds, and all of them
are asked about the collection as one list, whatever is judged meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from keepstone.platform.access import Principal, readable_scope
from keepstone.platform.database import Database
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.retrieval.search import Searcher
from keepstone.training.acting import acting_principal, scopes_of
from keepstone.training.relevance.evaluation import Asked, Evaluator
from keepstone.training.relevance.judgements import Judgement
from keepstone.training.relevance.measure import Report, measure
from keepstone.training.relevance.reports import Reports

KIND: Final = "evaluate"
_AT_ONCE: Final = 25


class Measuring:
    """Evaluations of collections, as jobs.

    Args:
        database: where jobs and collections are.
        searcher: searches.
        evaluator: knows the judged questions and the way in use.
        folder: where measurements and reports are kept.
        jobs: where the work is queued; this object registers itself there.
    """

    def __init__(
        self, *, database: Database, searcher: Searcher, evaluator: Evaluator, folder: Path, jobs: Jobs
    ) -> None:
        self._database, self._searcher, self._evaluator, self._jobs = database, searcher, evaluator, jobs
        self._reports = Reports(database, folder, kind=KIND, of=Report)
        self._reports.tidy()
        jobs.register(KIND, self)

    def submit(
        self, principal: Principal, collection: str, *, k: int = 10, judgements: Sequence[Judgement] | None = None
    ) -> str:
        """Order an evaluation and return the job's id.

        Args:
            principal: who owns the collection.
            collection: name or id.
            k: how many of the first places count.
            judgements: to be used instead of those that the collection has, and of what people thought of answers.

        Raises:
            InvalidInput: there is no judged question whose answer is in the collection.
        """
        asked = self._evaluator.questions(principal, collection, judgements)
        given = None if judgements is None else [each.model_dump(exclude_defaults=True) for each in judgements]
        args = {"k": k, "judgements": given, "scopes": scopes_of(principal)}
        return self._jobs.submit(KIND, args, principal_id=principal.id, collection_id=asked.collection_id)

    def report(self, principal: Principal, job_id: str) -> Report:
        """Return what an evaluation came to.

        Raises:
            NotFound: there is none of this id, it is another's, or it has not ended.
        """
        return self._reports.get(principal, job_id)

    def plan(self, job: JobInfo) -> list[Any]:
        """Keep the questions and how they are asked; each unit is the place of the first of some of them."""
        given = job.args["judgements"]
        judgements = None if given is None else [Judgement.model_validate(each) for each in given]
        with self._database.reading() as session:
            principal = acting_principal(session, job)
        asked = self._evaluator.questions(principal, str(job.collection_id), judgements)
        kept = self._reports.measured(job)
        kept.keep(asdict(asked), "asked")
        return list(range(0, len(asked.questions), _AT_ONCE))

    def run(self, job: JobInfo, unit: Any) -> None:
        """Ask some of the questions."""
        kept = self._reports.measured(job)

        def ask() -> list[dict[str, float]]:
            with self._database.reading() as session:
                scope = readable_scope(session, acting_principal(session, job), [str(job.collection_id)])
            asked = _as_asked(kept.find("asked"))
            some = asked.questions[unit : unit + _AT_ONCE]
            return measure(self._searcher, scope, some, asked.way, k=job.args["k"], check=job.check_cancelled)

        kept.remember(ask, "scores", unit)

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Put the report together, and write it."""
        kept = self._reports.measured(job)
        # When this is run once more after a kill, the report may be written and the rest gone.
        if error is None and (planned := kept.find("asked")):
            asked = _as_asked(planned)
            places = range(0, len(asked.questions), _AT_ONCE)
            scores = [each for place in places for each in kept.find("scores", place)]
            self._reports.keep(job.id, self._evaluator.report(asked, scores, job.args["k"]))
        kept.forget()


def _as_asked(kept: Any) -> Asked:
    return TypeAdapter(Asked).validate_python(kept)

"""The job kind `tune`: which way of searching is best for a collection?

    job_id = tuning.submit(principal, "handbook")
    tuning.report(principal, job_id).advice
    tuning.adopt(principal, job_id)

First the ways that need no other passages are tried; then the current way and the best one with passages that are cut
otherwise, in copies of the collection that nobody else sees. Each way is measured on all questions and kept, so a kill
costs one way at most. How the best is chosen and judged stands in `choosing`.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from keepstone.platform.access import Principal
from keepstone.platform.database import Database
from keepstone.platform.errors import Conflict, InvalidInput
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.retrieval.search import Searcher
from keepstone.training.acting import acting_principal, scopes_of
from keepstone.training.evaluate.kept import Kept
from keepstone.training.relevance.adoption import Adopted, Adoption
from keepstone.training.relevance.asking import Asking, Wanted
from keepstone.training.relevance.choosing import DEPTHS, TuningReport, chosen, ranked
from keepstone.training.relevance.evaluation import Asked, Evaluator
from keepstone.training.relevance.making import QuestionMaker
from keepstone.training.relevance.measure import Scores, measure
from keepstone.training.relevance.reports import Reports
from keepstone.training.relevance.trials import Trials
from keepstone.training.relevance.ways import Way

KIND: Final = "tune"
LEAST_DOCUMENTS: Final = 8
"""That questions are about; with fewer, half of them can tell nothing."""
MOST_RECUT: Final = 20_000
"""Passages of a collection of which copies are made unless somebody asks for it."""


class Tuning:
    """Sweeps over ways of searching.

    Args:
        database: where jobs and collections are.
        searcher: searches.
        evaluator: knows the judged questions and the way in use.
        maker: makes questions where none were judged.
        trials: what may be tried.
        adoption: lets collections be searched in another way.
        folder: where measurements, copies and reports are kept.
        jobs: where the work is queued; this object registers itself there.
    """

    def __init__(
        self,
        *,
        database: Database,
        searcher: Searcher,
        evaluator: Evaluator,
        maker: QuestionMaker,
        trials: Trials,
        adoption: Adoption,
        folder: Path,
        jobs: Jobs,
    ) -> None:
        self._database, self._searcher, self._trials, self._adoption = database, searcher, trials, adoption
        self._reports = Reports(database, folder, kind=KIND, of=TuningReport)
        self._reports.tidy()
        self._asking = Asking(database, evaluator, maker, self._reports)
        self._jobs = jobs
        jobs.register(KIND, self)

    def submit(
        self,
        principal: Principal,
        collection: str,
        *,
        k: int = 10,
        questions: Wanted = "auto",
        recut: bool | None = None,
        adopt: bool = False,
    ) -> str:
        """Order a sweep and return the job's id.

        Args:
            principal: who owns the collection.
            collection: name or id.
            k: how many of the first places count.
            questions: which are asked.
            recut: whether passages that are cut otherwise are tried, for each of which the collection is encoded anew;
                None: in collections of up to 20,000 passages.
            adopt: whether to search in the best way from then on, if it is better beyond chance.

        Raises:
            InvalidInput: too few questions have been judged, and none can be made.
        """
        asked = self._asking.settle(principal, collection, None, questions)
        if asked.questions:
            _require_enough(asked)
        args = {
            "k": k,
            "judgements": None,
            "questions": questions,
            "recut": self._trials.passages(asked.collection_id) <= MOST_RECUT if recut is None else recut,
            "adopt": adopt,
            "scopes": scopes_of(principal),
        }
        return self._jobs.submit(KIND, args, principal_id=principal.id, collection_id=asked.collection_id)

    def report(self, principal: Principal, job_id: str) -> TuningReport:
        """Return what a sweep came to.

        Raises:
            NotFound: there is none of this id, it is another's, or it has not ended.
        """
        return self._reports.get(principal, job_id)

    def adopt(self, principal: Principal, job_id: str) -> Adopted:
        """Search a collection from now on in the way that a sweep advises.

        Raises:
            NotFound: there is no such sweep, it is another's, or it has not ended.
            Conflict: it advises nothing, or the collection is searched otherwise than when ways were compared.
            Forbidden: the credential may only read.
        """
        principal.needs_scope("write")
        report = self._reports.get(principal, job_id)
        if report.advice != "change":
            fix = "Judge more questions: `keepstone eval retrieval --collection NAME --judgements FILE`"
            raise Conflict("No other way of searching is better beyond chance", fix=fix)
        collection = str(self._jobs.get(job_id).collection_id)
        return self._adoption.adopt(principal, collection, job_id, current=report.current, best=report.best)

    def plan(self, job: JobInfo) -> list[Any]:
        """Return what makes the questions, then the ways `["search", way]`, then the cuts `["cut", way]`."""
        units = self._asking.plan(job)
        kept = self._reports.measured(job)
        asked = self._asking.asked(job) if not units else None
        way = Way(**kept.find("asked")["way"])
        ways = self._trials.ways(way)
        # A larger passage holds an answer more easily, which makes it no better: sizes compare only by whole documents.
        sizes = asked is not None and all(item.start is None for each in asked.questions for item in each.items)
        cuts = self._trials.cuts(str(job.collection_id), way, sizes=sizes) if job.args["recut"] else []
        kept.keep([asdict(each) for each in ways], "ways")
        kept.keep([asdict(each) for each in cuts], "cuts")
        return [*units, *(["search", asdict(each)] for each in ways), *(["cut", asdict(each)] for each in cuts)]

    def run(self, job: JobInfo, unit: Any) -> None:
        """Make some of the questions, or measure one way or one cut on all of them."""
        what, *rest = unit
        if what == "make":
            self._asking.make(job, unit)
        elif what == "search":
            _require_enough(self._asking.asked(job))
            self._measure(job, self._searcher, Way(**rest[0]))
        else:
            self._measure_cut(job, Way(**rest[0]))

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Choose, judge, write the report, and take its advice where that was ordered."""
        kept = self._reports.measured(job)
        # When this is run once more after a kill, the report may be written and the rest gone.
        if error is None and kept.find("ways"):
            asked = self._asking.asked(job)
            scores = _found(kept, "ways")
            for cut in kept.find("cuts"):
                scores |= {way: kept.find("scores", asdict(way)) for way in self._with_cut(job, asked, Way(**cut))}
            self._reports.keep(job.id, chosen(asked, job.args["k"], scores))
        self._asking.forget(job)
        shutil.rmtree(self._copies(job), ignore_errors=True)
        if error is None and job.args["adopt"]:
            with self._database.reading() as session:
                principal = acting_principal(session, job)
            if self._reports.get(principal, job.id).advice == "change":
                self.adopt(principal, job.id)

    def _measure(self, job: JobInfo, searcher: Searcher, way: Way) -> None:
        def ask() -> list[dict[str, float]]:
            questions, scope = self._asking.asked(job).questions, self._asking.scope(job)
            return measure(searcher, scope, questions, way, k=job.args["k"], depths=DEPTHS, check=job.check_cancelled)

        self._reports.measured(job).remember(ask, "scores", asdict(way))

    def _measure_cut(self, job: JobInfo, cut: Way) -> None:
        # Left there when the process dies, so that the next try goes on with it; otherwise `finish` deletes it.
        folder = self._copies(job) / f"{cut.chunker}-{cut.max_tokens}"
        with self._trials.recut(folder, str(job.collection_id), cut, job.check_cancelled) as searcher:
            for way in self._with_cut(job, self._asking.asked(job), cut):
                self._measure(job, searcher, way)
        shutil.rmtree(folder, ignore_errors=True)

    def _with_cut(self, job: JobInfo, asked: Asked, cut: Way) -> list[Way]:
        """Return the current way and the best one, by the half that chooses, with passages cut otherwise."""
        best = ranked(asked.questions, job.args["k"], _found(self._reports.measured(job), "ways"))[0].way
        return list(dict.fromkeys([cut, replace(best, chunker=cut.chunker, max_tokens=cut.max_tokens)]))

    def _copies(self, job: JobInfo) -> Path:
        return self._reports.folder / f"{job.id}.copies"


def _found(kept: Kept, name: str) -> dict[Way, list[Scores]]:
    return {Way(**each): kept.find("scores", each) for each in kept.find(name)}


def _require_enough(asked: Asked) -> None:
    documents = len({each.document for each in asked.questions})
    if documents < LEAST_DOCUMENTS:
        raise InvalidInput(
            f"The questions are about {documents} documents; at least {LEAST_DOCUMENTS} are needed",
            fix="Judge more: `keepstone eval retrieval --collection NAME --judgements FILE`",
        )

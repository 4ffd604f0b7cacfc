"""The job kind `tune`: which way of searching is best for a collection?

    job_id = Tuning(...).submit(principal, "handbook")
    tuning.report(principal, job_id).advice

Half of the documents choose: the way that ranks the questions about them best. The other half judges: only where the
chosen way is better there, beyond chance, is it recommended. So trying many ways does not make one look good that is
not. Each way is a unit of the job, measured on all questions and kept, so a kill costs one way at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from keepstone.platform.access import Principal, readable_scope
from keepstone.platform.database import Database
from keepstone.platform.errors import Conflict, InvalidInput
from keepstone.platform.jobs import JobInfo, Jobs
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.reranking import LATE
from keepstone.retrieval.reranking.bi_encoder import TokenEncoder
from keepstone.retrieval.search import Searcher
from keepstone.training.acting import acting_principal, scopes_of
from keepstone.training.evaluate.bootstrap import Effect, Pair, difference
from keepstone.training.evaluate.kept import Kept
from keepstone.training.relevance.adoption import Adopted, Adoption
from keepstone.training.relevance.evaluation import Evaluator
from keepstone.training.relevance.measure import figure_names, measure
from keepstone.training.relevance.questions import Item, Question
from keepstone.training.relevance.reports import Reports
from keepstone.training.relevance.ways import Way, ways

KIND: Final = "tune"
LEAST_DOCUMENTS: Final = 8
"""That questions are about; with fewer, half of them can tell nothing."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A way with its mean nDCG over the questions that choose."""

    way: Way
    chosen_by: float


@dataclass(frozen=True, slots=True)
class TuningReport:
    """What a sweep came to."""

    collection: str
    k: int
    questions: int
    current: Way
    best: Way
    """By the half that chooses."""
    effect: Effect
    """What it changes in the half that judges, in nDCG."""
    advice: Literal["change", "keep"]
    """`change` where the best way is better beyond chance."""
    tried: tuple[Tried, ...]
    """All ways, the best first."""


class Tuning:
    """Sweeps over ways of searching.

    Args:
        database: where jobs and collections are.
        searcher: searches.
        evaluator: knows the judged questions and the way in use.
        adoption: lets collections be searched in another way.
        encoder: of the reranker `late`.
        folder: where measurements and reports are kept.
        jobs: where the work is queued; this object registers itself there.
    """

    def __init__(
        self,
        *,
        database: Database,
        searcher: Searcher,
        evaluator: Evaluator,
        adoption: Adoption,
        encoder: Encoder,
        folder: Path,
        jobs: Jobs,
    ) -> None:
        self._database, self._searcher, self._evaluator, self._adoption = database, searcher, evaluator, adoption
        self._rerankers = [LATE] if isinstance(encoder, TokenEncoder) else []
        self._reports = Reports(database, folder, kind=KIND, of=TuningReport)
        self._reports.tidy()
        self._jobs = jobs
        jobs.register(KIND, self)

    def submit(self, principal: Principal, collection: str, *, k: int = 10, adopt: bool = False) -> str:
        """Order a sweep and return the job's id.

        Args:
            principal: who owns the collection.
            collection: name or id.
            k: how many of the first places count.
            adopt: whether to search in the best way from then on, if it is better beyond chance.

        Raises:
            InvalidInput: too few questions have been judged.
        """
        asked = self._evaluator.questions(principal, collection)
        documents = len({each.document for each in asked.questions})
        if documents < LEAST_DOCUMENTS:
            raise InvalidInput(
                f"The judged questions are about {documents} documents; at least {LEAST_DOCUMENTS} are needed",
                fix="Judge more: `keepstone eval retrieval --collection NAME --judgements FILE`",
            )
        args = {"k": k, "adopt": adopt, "scopes": scopes_of(principal)}
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
        """
        report = self._reports.get(principal, job_id)
        if report.advice != "change":
            fix = "Judge more questions: `keepstone eval retrieval --collection NAME --judgements FILE`"
            raise Conflict("No other way of searching is better beyond chance", fix=fix)
        collection = str(self._jobs.get(job_id).collection_id)
        return self._adoption.adopt(principal, collection, job_id, current=report.current, best=report.best)

    def plan(self, job: JobInfo) -> list[Any]:
        """Return the ways, each a unit; the questions are kept, so that all ways are asked the same."""
        with self._database.reading() as session:
            principal = acting_principal(session, job)
        asked = self._evaluator.questions(principal, str(job.collection_id))
        kept = self._reports.measured(job)
        kept.keep([asdict(each) for each in asked.questions], "questions")
        kept.keep(asked.collection, "collection")
        tried = [asdict(way) for way in ways(asked.way, self._rerankers)]
        return list(kept.keep(tried, "ways"))

    def run(self, job: JobInfo, unit: Any) -> None:
        """Measure one way on all questions."""
        kept, k = self._reports.measured(job), job.args["k"]

        def ask() -> list[float]:
            with self._database.reading() as session:
                scope = readable_scope(session, acting_principal(session, job), [str(job.collection_id)])
            questions = _questions(kept)
            scores = measure(self._searcher, scope, questions, Way(**unit), k=k, check=job.check_cancelled)
            return [each[figure_names(k)[0]] for each in scores]

        kept.remember(ask, "scores", unit)

    def finish(self, job: JobInfo, error: str | None) -> None:
        """Choose, judge, write the report, and take its advice where that was ordered."""
        kept = self._reports.measured(job)
        # When this is run once more after a kill, the report may be written and the rest gone.
        if error is None and (planned := kept.find("ways")):
            scores = {Way(**unit): kept.find("scores", unit) for unit in planned}
            report = chosen(kept.find("collection"), job.args["k"], _questions(kept), scores)
            self._reports.keep(job.id, report)
        kept.forget()
        if error is None and job.args["adopt"]:
            with self._database.reading() as session:
                principal = acting_principal(session, job)
            if self._reports.get(principal, job.id).advice == "change":
                self.adopt(principal, job.id)


def chosen(collection: str, k: int, questions: Sequence[Question], scores: dict[Way, list[float]]) -> TuningReport:
    """Choose a way on one half of the documents and judge it on the other.

    Args:
        collection: its name.
        k: how many of the first places count.
        questions: all of them.
        scores: nDCG of each question under each way; the first is the way in use.
    """
    choosing = halves(questions)
    current = next(iter(scores))

    def mean(way: Way) -> float:
        mine = [score for score, chooses in zip(scores[way], choosing, strict=True) if chooses]
        return sum(mine) / len(mine)

    # Among equals the way in use, then the one that was tried first.
    tried = sorted((Tried(way, mean(way)) for way in scores), key=lambda each: -each.chosen_by)
    best = tried[0].way
    pairs = [
        Pair(question.document, live, candidate)
        for question, live, candidate, chooses in zip(questions, scores[current], scores[best], choosing, strict=True)
        if not chooses
    ]
    effect = difference(pairs)
    better = best != current and effect.low is not None and effect.low > 0
    return TuningReport(
        collection=collection,
        k=k,
        questions=len(questions),
        current=current,
        best=best,
        effect=effect,
        advice="change" if better else "keep",
        tried=tuple(tried),
    )


def halves(questions: Sequence[Question]) -> list[bool]:
    """Tell of each question whether it chooses: half of the documents do, always the same ones."""
    documents = sorted({each.document for each in questions}, key=lambda each: hashlib.sha256(each.encode()).digest())
    choosing = set(documents[: len(documents) // 2])
    return [each.document in choosing for each in questions]


def _questions(kept: Kept) -> list[Question]:
    return [Question(each["text"], tuple(Item(**item) for item in each["items"])) for each in kept.find("questions")]

"""The questions that a job asks: judged ones, or made when the job begins, kept so that all of it asks the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import TypeAdapter

from keepstone.platform.access import Principal, Scope, readable_scope
from keepstone.platform.database import Database
from keepstone.platform.errors import InvalidInput
from keepstone.platform.jobs import JobInfo
from keepstone.training.acting import acting_principal
from keepstone.training.relevance.evaluation import Asked, Evaluator
from keepstone.training.relevance.judgements import Judgement
from keepstone.training.relevance.making import Made, QuestionMaker
from keepstone.training.relevance.reports import Reports

Wanted = Literal["auto", "judged", "made"]
"""Which questions are asked; `auto`: those that were judged where there are any, else made ones."""
_AT_ONCE: Final = 16
T = TypeVar("T")


class Asking(Generic[T]):
    """The questions of the jobs of one kind.

    Args:
        database: where collections are.
        evaluator: knows the judged questions.
        maker: makes others.
        reports: beside which they are kept.
    """

    def __init__(self, database: Database, evaluator: Evaluator, maker: QuestionMaker, reports: Reports[T]) -> None:
        self._database, self._evaluator, self._maker, self._reports = database, evaluator, maker, reports

    def settle(
        self, principal: Principal, collection: str, judgements: Sequence[Judgement] | None, wanted: Wanted
    ) -> Asked:
        """Return the questions of an order, none where they are to be made.

        Raises:
            InvalidInput: judged ones are wanted, or were handed in, and none is about what is in the collection; or the
                collection is too small to make any.
        """
        if judgements is not None or wanted == "judged":
            return self._evaluator.questions(principal, collection, judgements)
        if wanted == "auto":
            judged = self._evaluator.judged(principal, collection)
            if judged.questions:
                return judged
        return self._evaluator.unjudged(principal, collection, self._maker.source())

    def plan(self, job: JobInfo) -> list[Any]:
        """Keep the questions; return the units `["make", first, last]` that make them, none for judged ones."""
        given = job.args["judgements"]
        judgements = None if given is None else [Judgement.model_validate(each) for each in given]
        with self._database.reading() as session:
            principal = acting_principal(session, job)
        asked = self.settle(principal, str(job.collection_id), judgements, job.args["questions"])
        self._reports.measured(job).keep(asdict(asked), "asked")
        if asked.questions:
            return []
        self._reports.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        passages = self._maker.take(self._corpus(job), asked.collection_id, asked.collection, job.check_cancelled)
        units = [["make", start, min(start + _AT_ONCE, passages)] for start in range(0, passages, _AT_ONCE)]
        return list(self._reports.measured(job).keep(units, "units"))

    def make(self, job: JobInfo, unit: Sequence[Any]) -> None:
        """Make the questions of one unit."""
        kept = self._reports.measured(job)
        asked = _asked(kept.find("asked"))
        assert asked.source != "judged", "these are not made"
        places, source = (unit[1], unit[2]), asked.source

        def made() -> dict[str, Any]:
            found = self._maker.make(self._corpus(job), places, self.scope(job), source, job.check_cancelled)
            return asdict(found)

        kept.remember(made, "made", list(unit))

    def asked(self, job: JobInfo) -> Asked:
        """Return the questions, at most 500, once they are made.

        Raises:
            InvalidInput: none could be made.
        """
        kept = self._reports.measured(job)
        asked = _asked(kept.find("asked"))
        if asked.source == "judged":
            return asked
        made = [TypeAdapter(Made).validate_python(kept.find("made", unit)) for unit in kept.find("units")]
        left_out = sum((Counter(each.left_out) for each in made), Counter(asked.left_out))
        questions = list({one.text: one for each in made for one in each.questions}.values())
        if not questions:
            fix = "Judge some: `keepstone eval retrieval --collection NAME --judgements FILE`"
            raise InvalidInput(f"No question could be made about {asked.collection!r}", fix=fix)
        return replace(asked, questions=self._evaluator.some_of(questions, left_out), left_out=dict(left_out))

    def scope(self, job: JobInfo) -> Scope:
        """Return the collection, if who ordered the job may still read it."""
        with self._database.reading() as session:
            return readable_scope(session, acting_principal(session, job), [str(job.collection_id)])

    def forget(self, job: JobInfo) -> None:
        """Delete all that is kept besides the report."""
        self._corpus(job).unlink(missing_ok=True)
        self._reports.measured(job).forget()

    def _corpus(self, job: JobInfo) -> Path:
        return self._reports.folder / f"{job.id}.corpus.jsonl"


def _asked(kept: Any) -> Asked:
    return TypeAdapter(Asked).validate_python(kept)

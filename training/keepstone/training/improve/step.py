"""One step of an improvement while it is taken: every change of the record is on the disk at once."""

from __future__ import annotations

from typing import Any

from keepstone.platform.access import Principal
from keepstone.platform.jobs import JobInfo
from keepstone.training.improve.config import RecipeName
from keepstone.training.improve.record import Candidate, Improvement, Records, Stage

_PARTS = 100
"""Each step counts for so much of the progress."""


class Step:
    """A step, with the record that it belongs to.

    Args:
        job: the improvement's.
        principal: who ordered it.
        name: of the step.
        records: where the record is.
    """

    def __init__(self, job: JobInfo, principal: Principal, name: str, records: Records) -> None:
        self.job, self.principal, self.name = job, principal, name
        self._records = records
        self.record: Improvement = records.get(job.id)

    @property
    def stage(self) -> Stage:
        """What the record says of this step."""
        return self.record.stage(self.name)

    @property
    def child(self) -> str:
        """The id of the job that does this step: always the same, so that it is ordered once."""
        return f"{self.job.id}-{self.name.replace(' ', '-')}"

    def note(self, **changes: Any) -> None:
        """Change what the record says of this step."""
        stages = tuple(
            stage.model_copy(update=changes) if stage.name == self.name else stage for stage in self.record.stages
        )
        self.change(stages=stages)

    def note_candidate(self, recipe: RecipeName, **changes: Any) -> Candidate:
        """Change what the record says of a candidate, and return that."""
        candidates = tuple(
            each.model_copy(update=changes) if each.recipe == recipe else each for each in self.record.candidates
        )
        self.change(candidates=candidates)
        return self.record.candidate(recipe)

    def change(self, **changes: Any) -> None:
        """Change the record."""
        self.record = self.record.model_copy(update=changes)
        self._records.save(self.record)

    def progress(self, done: int, total: int) -> None:
        """Show how far the job of this step is as part of the whole."""
        place = [stage.name for stage in self.record.stages].index(self.name)
        part = _PARTS * min(done, total) // total if total else 0
        self.job.progress(_PARTS * place + part, _PARTS * len(self.record.stages))

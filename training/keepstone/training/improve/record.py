"""The record of an improvement: a JSON file that is written anew after each step, and what reports are made from.

`reports/JOB.json` in the home folder is the record of the job JOB; beside it stand its report as Markdown and as HTML.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from keepstone.platform.database.tables import utc_now
from keepstone.platform.errors import NotFound, storage_errors
from keepstone.retrieval.indexes.files import write_atomically
from keepstone.training.data.store import DatasetCard
from keepstone.training.evaluate.gate import Outcome
from keepstone.training.improve.config import ImproveConfig, RecipeName
from keepstone.training.improve.stages import stage_names

StageState = Literal["waiting", "running", "done", "skipped"]
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Stage(_Part):
    """One step of the way."""

    name: str
    """Such as `dataset`, or `train embedding`."""
    state: StageState = "waiting"
    job: str | None = None
    """That does it, where it is one of its own."""
    began_at: datetime | None = None
    """The last time; one that was killed begins again where it was."""
    seconds: float = 0.0
    """That it took, waiting for other jobs included, killed attempts not."""
    said: str = ""
    """What came of it, in words."""


class Measure(_Part):
    """One figure of both models, over the same held-out questions."""

    name: str
    role: Literal["primary", "guarded", "shown"]
    live: float
    candidate: float
    value: float
    """The difference; for tokens per second, how many times."""
    low: float | None
    """Of the 95% interval of `value`."""
    high: float | None
    questions: int
    documents: int


class Judgement(_Part):
    """What the gate said."""

    verdict: str
    """Its id."""
    outcome: Outcome
    reasons: tuple[str, ...]
    measures: tuple[Measure, ...]


class Candidate(_Part):
    """A model that was made, and what became of it."""

    recipe: RecipeName
    live: str | None = None
    """Name and version of the model in use that it was judged against."""
    base: str | None = None
    """Name and version of the model that it was trained from."""
    model: str | None = None
    """Its name and version."""
    run: str | None = None
    """The id of the training run."""
    config: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    curve: tuple[dict[str, Any], ...] = ()
    judgement: Judgement | None = None
    promoted: bool = False


class Improvement(_Part):
    """All of it."""

    version: Literal[1] = 1
    """Of this format."""
    id: str
    """Of its job."""
    collection_id: str
    collection: str
    """The collection's name when it began."""
    config: ImproveConfig
    created_at: datetime = Field(default_factory=utc_now)
    ended_at: datetime | None = None
    error: str | None = None
    cancelled: bool = False
    dataset: str | None = None
    """Its id."""
    card: DatasetCard | None = None
    stages: tuple[Stage, ...]
    candidates: tuple[Candidate, ...]

    @classmethod
    def begin(cls, job_id: str, config: ImproveConfig, collection: str) -> Improvement:
        """Return the record of an improvement that has yet to take its first step."""
        return cls(
            id=job_id,
            collection_id=config.collection,
            collection=collection,
            config=config,
            stages=tuple(Stage(name=name) for name in stage_names(config.recipes)),
            candidates=tuple(Candidate(recipe=recipe) for recipe in config.recipes),
        )

    def stage(self, name: str) -> Stage:
        """Return one of its stages."""
        return next(each for each in self.stages if each.name == name)

    def candidate(self, recipe: RecipeName) -> Candidate:
        """Return what a recipe made, or will make."""
        return next(each for each in self.candidates if each.recipe == recipe)

    @property
    def seconds(self) -> float:
        """Of all stages together."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def summary(self) -> str:
        """What came of it, in a sentence or two."""
        if self.error is not None:
            return f"It was {'cancelled' if self.cancelled else 'broken off'}: {self.error.rstrip('.')}."
        if self.ended_at is None:
            return "It is under way."
        return " ".join(map(_sentence, self.candidates))


class Records:
    """The records in a folder.

    Args:
        folder: `reports` in the home folder; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str) -> Improvement | None:
        """Return the record of a job; None when it has none, or one that cannot be read."""
        if not _ID.fullmatch(name):
            return None
        try:
            return Improvement.model_validate_json((self.folder / f"{name}.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def get(self, name: str) -> Improvement:
        """Return the record of a job.

        Raises:
            NotFound: it has none.
        """
        found = self.find(name)
        if found is None:
            raise NotFound(f"No report {name!r}", fix="List them: `keepstone reports list`")
        return found

    def list(self) -> list[Improvement]:
        """Return all records, the newest first."""
        names = [path.stem for path in self.folder.glob("*.json")] if self.folder.is_dir() else []
        found = [each for name in names if (each := self.find(name)) is not None]
        return sorted(found, key=lambda each: (each.created_at, each.id), reverse=True)

    def save(self, record: Improvement) -> None:
        """Write a record.

        Raises:
            StorageFull: no room; the file is as it was.
        """
        self.write(f"{record.id}.json", record.model_dump_json(indent=1))

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder, whole or not at all, and return its path."""
        with storage_errors("writing a report"):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self.folder / name, text.encode("utf-8", "replace"))
        return self.folder / name


def _sentence(candidate: Candidate) -> str:
    what = TITLES[candidate.recipe]
    if candidate.judgement is None:
        return f"{what}: nothing to judge."
    if candidate.promoted:
        return f"{what}: promoted, {candidate.model} is in use."
    words: dict[Outcome, str] = {
        "promote": "better, and waits to be promoted",
        "refuse": "refused, the one in use stays",
        "not_enough_data": "not enough data to tell, the one in use stays",
    }
    return f"{what}: {words[candidate.judgement.outcome]}."


TITLES: dict[RecipeName, str] = {
    "embedding": "Encoder",
    "sft": "Language model's adapter",
    "quantize": "Quantized language model",
}
"""What each recipe makes, as people read it."""

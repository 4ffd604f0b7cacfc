"""What a recipe is: a configuration, a plan that costs nothing, and the training itself.

    made = recipe("embedding")
    config = made.configure({"epochs": 1})
    made.plan(config, paths, machine).seconds
    made.train(config, paths, report).folder

A recipe knows folders only: no database, no registry, no job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from keepstone.platform.errors import InvalidInput, KeepstoneError, did_you_mean
from keepstone.platform.machine import Machine
from keepstone.platform.models.catalog import Kind


class RecipeConfig(BaseModel):
    """What every recipe can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    seed: int = Field(default=42, ge=0, lt=2**31)
    """Of everything random. The same seed, data and machine give the same weights."""


class TrainingConfig(RecipeConfig):
    """What every recipe that trains by steps can be told."""

    epochs: float = Field(default=2.0, gt=0, le=100)
    """How often each row is seen."""
    batch_size: int = Field(default=32, ge=1, le=4096)
    """Rows a step."""
    learning_rate: float = Field(default=2e-5, gt=0, le=1)
    """Highest rate; it rises over the first steps and falls linearly to 0."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the rate rises."""
    save_every: int = Field(default=20, ge=1)
    """Steps between checkpoints; after a kill the run goes on at the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where a run reads and writes."""

    base: Path
    """The model that it starts from."""
    dataset: Path
    work: Path
    """Folder of the run: checkpoints, curve, log."""

    @property
    def output(self) -> Path:
        """The finished model."""
        return self.work / "output"

    @property
    def checkpoints(self) -> Path:
        """What the run goes on from after a kill."""
        return self.work / "checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would take, known before anything runs."""

    rows: int
    """Rows that it learns from; those that are too long or empty are left out."""
    tokens: int
    """Tokens through the model, all epochs together."""
    steps: int
    memory_gib: float
    seconds: float
    """Estimate, right within a factor of two where it was measured (docs/gpu.md: where not)."""
    device: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run made."""

    folder: Path
    metrics: dict[str, float] = field(default_factory=dict)


class Report(Protocol):
    """Whom a recipe tells how far it is."""

    def step(self, step: int, of: int, **values: float) -> None:
        """Note a step and what was measured at it, such as its loss."""
        ...

    def stopping(self) -> bool:
        """Tell whether the run is to stop after the step in hand, with a checkpoint."""
        ...


class Stopped(Exception):
    """The run was asked to stop, and did: it can go on from its checkpoint."""


class Diverged(KeepstoneError):
    """The loss is no number any more."""

    code = "diverged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A way to make one model from another and a dataset."""

    name: str
    base_kind: Kind
    """Of the model that it starts from."""
    config: type[RecipeConfig]
    suffix: str
    """What the name of the new model gets behind that of the old."""
    make_plan: Callable[[Any, Paths, Machine], Plan]
    make_model: Callable[[Any, Paths, Report], Outcome]
    result_kind: Callable[[Any], Kind]

    def configure(self, values: Mapping[str, Any]) -> RecipeConfig:
        """Return the configuration with these values, which may be texts.

        Raises:
            InvalidInput: a name or a value is wrong.
        """
        try:
            return self.config.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or self.name
            if first["type"] == "extra_forbidden":
                fix = did_you_mean(name, list(self.config.model_fields))
                raise InvalidInput(f"The recipe {self.name} has no option {name!r}", fix=fix) from error
            raise InvalidInput(
                f"{name} = {first['input']!r} does not do: {first['msg']}", fix=f"Set another {name}"
            ) from error

    def plan(self, config: RecipeConfig, paths: Paths, machine: Machine) -> Plan:
        """Return what a run would take.

        Raises:
            InvalidInput: the dataset has nothing for this recipe, or too little.
        """
        return self.make_plan(config, paths, machine)

    def train(self, config: RecipeConfig, paths: Paths, report: Report) -> Outcome:
        """Make the model, going on from the last checkpoint if there is one.

        Raises:
            Stopped: the report said so.
            InvalidInput: the dataset has nothing for this recipe, or too little.
            Diverged: the loss became infinite or no number.
        """
        return self.make_model(config, paths, report)

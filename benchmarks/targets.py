"""The targets that figures are held to: read from benchmarks/targets.toml, compared with what was measured."""

from __future__ import annotations

import operator
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepstone.platform.errors import InvalidInput, did_you_mean

TARGETS = Path(__file__).with_name("targets.toml")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should reach."""

    op: str
    """One of `>=`, `<=`, `>`, `<` and `==`."""
    value: float
    source: str
    """What the target belongs to, such as `main job, speed`."""
    text: str = ""
    """The target in the words it was set in."""

    def __post_init__(self) -> None:
        if self.op not in _COMPARE:
            raise InvalidInput(f"{self.op!r} compares nothing", fix=did_you_mean(self.op, list(_COMPARE)))

    def __str__(self) -> str:
        return f"{self.op} {self.value:g}"

    def met_by(self, value: float) -> bool:
        """Tell whether a value reaches the target; NaN never does."""
        return bool(_COMPARE[self.op](float(value), self.value))


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target, compared with what was measured."""

    figure: str
    target: Target
    value: float | None
    """The figure's median; None when it was not measured."""

    @property
    def met(self) -> bool:
        """Whether the target was reached."""
        return self.value is not None and self.target.met_by(self.value)

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        found = "was not measured" if self.value is None else f"is {self.value:.4g}"
        return f"{self.figure} {found}, the target is {self.target} ({self.target.source})"


def load_targets(benchmark: str, path: Path = TARGETS) -> dict[str, Target]:
    """Return the targets of one benchmark by figure; none when the file has no section for it.

    Raises:
        InvalidInput: the file is not valid; the message names the entry.
    """
    try:
        section = tomllib.loads(path.read_text(encoding="utf-8")).get(benchmark, {})
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path} is not valid TOML: {error}", fix="Mend that line") from error
    return {figure: _read(f"{benchmark}.{figure}", entry) for figure, entry in section.items()}


def judge(
    values: Mapping[str, float], targets: Mapping[str, Target], wanted: Callable[[str], bool] = lambda _: True
) -> tuple[Verdict, ...]:
    """Compare medians with their targets; a wanted figure that has a target and no value counts as short."""
    return tuple(Verdict(name, target, values.get(name)) for name, target in targets.items() if wanted(name))


def _read(place: str, entry: Any) -> Target:
    try:
        return Target(**entry)
    except (TypeError, InvalidInput) as error:
        raise InvalidInput(f"{place} in targets.toml: {error}", fix="It needs op, value and source") from error

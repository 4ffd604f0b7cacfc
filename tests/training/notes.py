"""A report that keeps what it is told, and asks to stop at a step."""

from __future__ import annotations

from typing import Any

from keepstone.training.recipes.base import Paths


class Notes:
    """What a recipe told.

    Args:
        stop_at: the step after which it is to stop; None: never.
    """

    def __init__(self, stop_at: int | None = None) -> None:
        self.points: list[dict[str, Any]] = []
        self._stop_at = stop_at
        self._asked = 0

    @property
    def losses(self) -> list[float]:
        return [each["loss"] for each in self.points if "loss" in each]

    def step(self, step: int, of: int, **values: float) -> None:
        self.points.append({"step": step, "of": of, **values})

    def stopping(self) -> bool:
        # Asked once after each step, before the step is reported.
        self._asked += 1
        return self._asked == self._stop_at


def weights(paths: Paths, name: str = "model.safetensors") -> dict[str, Any]:
    """Return the weights that a run made."""
    from safetensors.torch import load_file

    return load_file(paths.output / name)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two sets of weights are equal to the last bit."""
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)

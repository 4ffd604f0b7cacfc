"""Two ways to do the same thing, measured in turn in one run.

::

    figure = interleaved(keepstone_rate, bare_rate, runs=context.runs).ratio("http_throughput_ratio")

So a busy or warming machine hits both alike, and the ratio means something where the single numbers do not.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.harness import Figure


@dataclass(frozen=True, slots=True)
class Comparison:
    """What both ways gave, run by run: `ours[i]` and `theirs[i]` were measured next to each other."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours over theirs, for each pair."""
        return tuple(a / b for a, b in zip(self.ours, self.theirs, strict=True))

    def ratio(self, name: str, unit: str = "x") -> Figure:
        """Return the ratios as a figure; its median is robust against a pair that was disturbed."""
        return Figure(name, self.ratios, unit)

    def difference(self, name: str, unit: str) -> Figure:
        """Return ours minus theirs, for each pair, as a figure."""
        return Figure(name, [a - b for a, b in zip(self.ours, self.theirs, strict=True)], unit)


def interleaved(
    ours: Callable[[], float], theirs: Callable[[], float], *, runs: int = 5, warmup: int = 1
) -> Comparison:
    """Measure two ways in turn: A B, B A, A B, ...

    The order within a pair alternates, because what runs second finds warmer caches or a hotter processor.

    Args:
        ours: does the work once and returns its measure, such as seconds or tokens per second.
        theirs: the same for what we compare with.
        runs: how many pairs.
        warmup: how many pairs to run and forget before.
    """
    results: tuple[list[float], list[float]] = ([], [])
    for turn in range(-warmup, runs):
        pair = {}
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            gc.collect()
            pair[side] = (ours, theirs)[side]()
        if turn >= 0:
            for side in (0, 1):
                results[side].append(pair[side])
    return Comparison(tuple(results[0]), tuple(results[1]))


def seconds(work: Callable[[], object]) -> Callable[[], float]:
    """Wrap `work` so that calling it returns how many seconds it took."""

    def timed() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return timed

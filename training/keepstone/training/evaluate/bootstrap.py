"""How much a candidate changes, and how sure that is: a paired bootstrap over questions, by documents.

    effect = difference([Pair("doc-1", live=0.6, candidate=0.8), ...])
    effect.low > 0   # better, with 95% confidence

Both models answered the same questions, so their scores are compared question by question. Questions about one
document stand and fall together; so whole documents are drawn, not questions (the cluster bootstrap: Field and Welsh,
2007, "Bootstrapping clustered data"). With few documents percentile intervals are too narrow; their quantiles are
therefore moved out to where Student's t has its own (the expanded percentile interval: Hesterberg, 2015, "What Teachers
Should Know About the Bootstrap", section 5.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLES: Final = 10_000
LEVEL: Final = 0.95
# How many numbers are drawn at a time.
_AT_ONCE = 4_000_000
Floats = NDArray[np.float64]
_Compare = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True, slots=True)
class Pair:
    """One question, measured under both models."""

    document: str
    """What the question is about; pairs of one document depend on each other."""
    live: float
    candidate: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What the candidate changes on average, with its interval."""

    live: float
    """Mean under the model in use."""
    candidate: float
    """Mean under the candidate."""
    value: float
    """`candidate - live`, or `candidate / live`."""
    low: float | None
    """Lower end of the interval; None with a single document, which cannot tell how others would differ."""
    high: float | None
    questions: int
    documents: int


def difference(pairs: Sequence[Pair], *, level: float = LEVEL, seed: int = 0) -> Effect:
    """Return `candidate - live` of the means.

    Args:
        pairs: at least one.
        level: how often the interval is to hold the truth.
        seed: of the draws; the same seed gives the same interval.
    """
    return _effect(pairs, lambda live, candidate: candidate - live, level, seed)


def ratio(pairs: Sequence[Pair], *, level: float = LEVEL, seed: int = 0) -> Effect:
    """Return `candidate / live` of the means, for measures above zero such as tokens per second; else as above."""
    assert all(pair.live > 0 for pair in pairs), "a ratio to nothing"
    return _effect(pairs, lambda live, candidate: candidate / live, level, seed)


def _effect(pairs: Sequence[Pair], compare: _Compare, level: float, seed: int) -> Effect:
    assert pairs, "nothing to compare"
    # In a fixed order, so that the same questions in another order give the same draws.
    names = sorted({pair.document for pair in pairs})
    place = {name: at for at, name in enumerate(names)}
    sums = np.zeros((len(names), 3))
    for pair in sorted(pairs, key=lambda each: (each.document, each.live, each.candidate)):
        sums[place[pair.document]] += (pair.live, pair.candidate, 1.0)
    live, candidate, count = sums.sum(axis=0).tolist()
    low = high = None
    if len(names) > 1:
        drawn = _draw(sums, seed)
        changes = compare(drawn[:, 0] / drawn[:, 2], drawn[:, 1] / drawn[:, 2])
        outside = _outside(level, len(names))
        low, high = np.quantile(changes, [outside, 1 - outside]).tolist()
    means = np.array([live / count]), np.array([candidate / count])
    value = float(compare(*means)[0])
    return Effect(live / count, candidate / count, value, low, high, len(pairs), len(names))


def _draw(sums: Floats, seed: int) -> Floats:
    """Return the sums of `SAMPLES` draws of as many documents as there are, with replacement: shape (SAMPLES, 3)."""
    generator = np.random.default_rng(seed)
    documents = len(sums)
    evenly = np.full(documents, 1 / documents)
    block = max(1, _AT_ONCE // documents)
    sizes = [min(block, SAMPLES - start) for start in range(0, SAMPLES, block)]
    return np.concatenate([generator.multinomial(documents, evenly, size=size) @ sums for size in sizes])


def _outside(level: float, documents: int) -> float:
    """Return the share of the draws to leave out at each end."""
    # Imported here: every start of the app would wait for it.
    from scipy.special import ndtr, stdtrit

    t = stdtrit(documents - 1, (1 + level) / 2)
    return float(ndtr(-math.sqrt(documents / (documents - 1)) * t))

"""What the indexes of some collections propose for a question, each chunk with its scores in both halves.

pool = propose([(index, question), ...], clock)

What only one half of an index found is scored in the other as well, so that both have a say in each candidate.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from keepstone.retrieval.indexes.collection import CollectionIndex

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Question:
    """The query as the indexes under one encoder want it."""

    vector: NDArray[np.float32]
    terms: Sequence[str]
    count: int
    """How many candidates each index proposes."""
    weight: float
    """Of meaning against words."""
    exact: bool
    hidden: NDArray[np.int64]
    """Ids of chunks to pass over, ascending."""
    allowed: Sequence[int] | None
    """Ids of the only chunks that count; None: all."""


@dataclass(frozen=True, slots=True)
class Part:
    """The candidates of one collection: a slice of all."""

    index: CollectionIndex
    question: Question
    rows: slice


@dataclass(frozen=True, slots=True)
class Candidates:
    """Chunks and their scores in both halves of their indexes, shape (n,) each; a chunk is of one collection only."""

    ids: NDArray[np.int64]
    dense: Floats
    lexical: Floats
    parts: tuple[Part, ...]
    """Those of one encoder stand together."""

    @property
    def weights(self) -> Floats:
        """Weight of meaning against words for each candidate."""
        weights = np.empty(len(self.ids))
        for part in self.parts:
            weights[part.rows] = part.question.weight
        return weights

    @property
    def encoders(self) -> list[slice]:
        """The candidates of each encoder: their scores by meaning can be compared."""
        return [slice(some[0].rows.start, some[-1].rows.stop) for some in self._by_encoder()]

    def likeness(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the cosine of each two of these candidates, shape (n, n).

        It is 0 where nothing can be said: between those of different encoders, and where meaning has no say.
        """
        found = np.zeros((len(rows), len(rows)), dtype=np.float32)
        for some in self._by_encoder():
            if not some[0].question.weight:
                continue
            at: list[NDArray[np.int64]] = []
            vectors: list[NDArray[np.float32]] = []
            for part in some:
                mine = np.flatnonzero((rows >= part.rows.start) & (rows < part.rows.stop))
                at.append(mine)
                vectors.append(part.index.vectors.vectors(self.ids[rows[mine]].tolist()))
            every, matrix = np.concatenate(at), np.nan_to_num(np.concatenate(vectors))
            found[np.ix_(every, every)] = matrix @ matrix.T
        return found

    def _by_encoder(self) -> list[list[Part]]:
        return [list(some) for _, some in groupby(self.parts, key=lambda part: id(part.question))]


def propose(asked: Sequence[tuple[CollectionIndex, Question]], clock: Clock) -> Candidates:
    """Let each index propose candidates for its question.

    Args:
        asked: those that share a question, which is those of one encoder, stand together.
        clock: counts the stages `lexical` and `dense`.
    """
    proposed = [_proposed(index, question, clock) for index, question in asked]
    parts: list[Part] = []
    start = 0
    for (index, question), (some, _, _) in zip(asked, proposed, strict=True):
        parts.append(Part(index, question, slice(start, start + len(some))))
        start += len(some)
    return Candidates(
        np.concatenate([np.empty(0, dtype=np.int64), *(ids for ids, _, _ in proposed)]),
        np.concatenate([np.empty(0), *(dense for _, dense, _ in proposed)]),
        np.concatenate([np.empty(0), *(lexical for _, _, lexical in proposed)]),
        tuple(parts),
    )


def _proposed(index: CollectionIndex, question: Question, clock: Clock) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return the ids of what either half of an index proposes, with the scores of both."""
    vector, terms = question.vector, question.terms
    by_words = index.words.search(terms, question.count, allowed=question.allowed)
    clock.lap("lexical")
    # Meaning proposes nothing where it has no say, unless words find nothing.
    asked = question.weight > 0 or not len(by_words)
    count = question.count if asked else 0
    by_meaning = index.vectors.search(vector, count, allowed=question.allowed, exact=question.exact)
    clock.lap("dense")
    ids = np.union1d(by_meaning.ids, by_words.ids)
    dense = _scattered(ids, by_meaning.ids, by_meaning.scores)
    lexical = _scattered(ids, by_words.ids, by_words.scores)
    unknown = np.isnan(dense)
    if unknown.any():
        dense[unknown] = index.vectors.scores(vector, ids[unknown].tolist())
    clock.lap("dense")
    unknown = np.isnan(lexical)
    if unknown.any():
        lexical[unknown] = index.words.scores(terms, ids[unknown].tolist())
    clock.lap("lexical")
    shown = ~np.isin(ids, question.hidden)
    return ids[shown], dense[shown], lexical[shown]


def _scattered(ids: NDArray[np.int64], some: NDArray[np.int64], scores: Floats) -> Floats:
    spread = np.full(len(ids), np.nan)
    spread[np.searchsorted(ids, some)] = scores
    return spread


class Clock:
    """Adds up the milliseconds of each stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Count the time since the last call for this stage."""
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._last) * 1000.0
        self._last = now

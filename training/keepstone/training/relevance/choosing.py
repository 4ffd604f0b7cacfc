"""Choosing among ways of searching: the best on one half of the documents, judged on the other.

Half of the documents choose: the way that ranks the questions about them best. The other half judges: only where the
chosen way is better there, beyond chance, is it recommended. So trying many ways does not make one look good that is
not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from keepstone.training.evaluate.bootstrap import Effect, Pair, difference
from keepstone.training.relevance.evaluation import Asked
from keepstone.training.relevance.measure import Scores, Source, figure_names
from keepstone.training.relevance.questions import Question
from keepstone.training.relevance.ways import Way

DEPTHS: Final = (1, 3, 5, 10)
"""Numbers of first places at which recall is told, for who has to choose how many passages to read."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A way with its mean nDCG over the questions that choose."""

    way: Way
    chosen_by: float


@dataclass(frozen=True, slots=True)
class Recall:
    """How much of what is relevant is found among the first k, by the questions that judge."""

    k: int
    current: float
    best: float


@dataclass(frozen=True, slots=True)
class TuningReport:
    """What a sweep came to."""

    collection: str
    k: int
    questions: int
    source: Source
    """Who judged what is relevant to them."""
    current: Way
    best: Way
    """By the half that chooses."""
    effect: Effect
    """What it changes in the half that judges, in nDCG."""
    recalls: tuple[Recall, ...]
    advice: Literal["change", "keep"]
    """`change` where the best way is better beyond chance."""
    tried: tuple[Tried, ...]
    """All ways, the best first."""
    left_out: Mapping[str, int]
    """What of the judgements could not be used, and how often."""


def chosen(asked: Asked, k: int, scores: Mapping[Way, Sequence[Scores]]) -> TuningReport:
    """Choose a way on one half of the documents and judge it on the other.

    Args:
        asked: the questions.
        k: how many of the first places count.
        scores: what the ranking of each question is worth under each way; the first is the way in use.
    """
    current = next(iter(scores))
    tried = ranked(asked.questions, k, scores)
    best = tried[0].way
    judging = [not chooses for chooses in halves(asked.questions)]
    name = figure_names(k)[0]
    pairs = [
        Pair(question.document, live[name], candidate[name])
        for question, live, candidate, judges in zip(
            asked.questions, scores[current], scores[best], judging, strict=True
        )
        if judges
    ]
    effect = difference(pairs)
    better = best != current and effect.low is not None and effect.low > 0
    return TuningReport(
        collection=asked.collection,
        k=k,
        questions=len(asked.questions),
        source=asked.source,
        current=current,
        best=best,
        effect=effect,
        recalls=tuple(
            Recall(depth, *(_mean(scores[way], judging, f"recall@{depth}") for way in (current, best)))
            for depth in DEPTHS
        ),
        advice="change" if better else "keep",
        tried=tried,
        left_out=asked.left_out,
    )


def ranked(questions: Sequence[Question], k: int, scores: Mapping[Way, Sequence[Scores]]) -> tuple[Tried, ...]:
    """Return the ways, the best first, by the half that chooses; among equals the one that was tried first."""
    choosing, name = halves(questions), figure_names(k)[0]
    tried = [Tried(way, _mean(each, choosing, name)) for way, each in scores.items()]
    return tuple(sorted(tried, key=lambda each: -each.chosen_by))


def halves(questions: Sequence[Question]) -> list[bool]:
    """Tell of each question whether it chooses: half of the documents do, always the same ones."""
    documents = sorted({each.document for each in questions}, key=lambda each: hashlib.sha256(each.encode()).digest())
    choosing = set(documents[: len(documents) // 2])
    return [each.document in choosing for each in questions]


def _mean(scores: Sequence[Scores], counts: Sequence[bool], name: str) -> float:
    mine = [each[name] for each, count in zip(scores, counts, strict=True) if count]
    return sum(mine) / len(mine)

"""What one way of searching is worth: nDCG, MRR and recall over judged questions, with 95% intervals.

Where a question's relevant items are whole documents, documents are ranked, each at the place of its best passage;
otherwise passages. An item counts once, where it is first found: a passage that touches one that was found before it
takes no place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from keepstone.platform.access import Scope
from keepstone.retrieval.search import Searcher
from keepstone.retrieval.types import Hit
from keepstone.training.evaluate.bootstrap import Pair, difference
from keepstone.training.evaluate.metrics import ndcg, recall, reciprocal_rank
from keepstone.training.relevance.questions import Item, Question
from keepstone.training.relevance.ways import Way

# Passages read for each place of the ranking, since several may be of one document.
_DEPTH = 3
_MISSES = 20

Scores = Mapping[str, float]
Source = Literal["judged", "written", "sentences"]


@dataclass(frozen=True, slots=True)
class Figure:
    """The mean of a measure."""

    name: str
    """`ndcg@10`, `mrr@10` or `recall@10`."""
    mean: float
    low: float | None
    """Of the 95% interval, by a bootstrap over documents; None where all questions are about one."""
    high: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """How well a collection is searched."""

    collection: str
    questions: int
    documents: int
    """That the questions are about."""
    source: Source
    """Who judged what is relevant to them: people (`judged`), or nobody, since the questions were made from passages
    that are known: by the language model (`written`), or of the documents' own words (`sentences`)."""
    k: int
    way: Way
    encoder: str
    """Version of the encoder."""
    reranker: str | None
    """Version of the reranker."""
    figures: tuple[Figure, ...]
    misses: tuple[str, ...]
    """Some of the questions of whose answers nothing was found among the first k."""
    left_out: Mapping[str, int]
    """What of the judgements could not be used, and how often."""


def figure_names(k: int) -> tuple[str, str, str]:
    """Return the names of the measures at k."""
    return f"ndcg@{k}", f"mrr@{k}", f"recall@{k}"


def measure(
    searcher: Searcher,
    scope: Scope,
    questions: Sequence[Question],
    way: Way,
    *,
    k: int,
    depths: Sequence[int] = (),
    check: Callable[[], None] = lambda: None,
) -> list[dict[str, float]]:
    """Search for each question in one way; return what each ranking is worth.

    Args:
        searcher: searches.
        scope: the collection.
        questions: what is asked.
        way: how.
        k: how many of the first places count.
        depths: other numbers of first places, at which recall is told as well.
        check: called before each question; may raise to end it.
    """
    scores: list[dict[str, float]] = []
    for question in questions:
        check()
        found = searcher.search(
            scope,
            question.text,
            k=max((k, *depths)) * _DEPTH,
            candidates=way.candidates,
            dense_weight=way.dense_weight,
            reranker=way.reranker,
        )
        scores.append(worth(found.hits, question.items, k, depths))
    return scores


def worth(hits: Sequence[Hit], items: Sequence[Item], k: int, depths: Sequence[int] = ()) -> dict[str, float]:
    """Return what a ranking is worth, by the names of the measures.

    Args:
        hits: best first.
        items: what is relevant.
        k: how many of the first places count.
        depths: other numbers of first places, at which recall is told as well.
    """
    ranked, relevant = ranking(hits, items), range(len(items))
    values = ndcg(ranked, relevant, k), reciprocal_rank(ranked, relevant, k), recall(ranked, relevant, k)
    further = {f"recall@{depth}": recall(ranked, relevant, depth) for depth in depths}
    return further | dict(zip(figure_names(k), values, strict=True))


def ranking(hits: Sequence[Hit], items: Sequence[Item]) -> list[int]:
    """Return what stands at each place: the number of a relevant item, or a number below 0 for anything else."""
    whole = all(item.start is None for item in items)
    ranked: list[int] = []
    seen: set[str] = set()
    for hit in hits:
        matching = [number for number, item in enumerate(items) if _answers(hit, item)]
        new = [number for number in matching if number not in ranked]
        if new:
            ranked.append(new[0])
        elif not matching and not (whole and hit.document_id in seen):
            ranked.append(-1 - len(ranked))
        seen.add(hit.document_id)
    return ranked


def figures(questions: Sequence[Question], scores: Sequence[Scores]) -> tuple[Figure, ...]:
    """Return the means of all measures with their intervals; at least one question."""
    found: list[Figure] = []
    for name in scores[0]:
        pairs = [Pair(question.document, 0.0, each[name]) for question, each in zip(questions, scores, strict=True)]
        effect = difference(pairs)
        found.append(Figure(name, effect.candidate, effect.low, effect.high))
    return tuple(found)


def missed(questions: Sequence[Question], scores: Sequence[Scores], k: int) -> tuple[str, ...]:
    """Return some of the questions for which nothing was found."""
    name = figure_names(k)[2]
    return tuple(one.text for one, each in zip(questions, scores, strict=True) if each[name] == 0)[:_MISSES]


def _answers(hit: Hit, item: Item) -> bool:
    if hit.document_id != item.document_id:
        return False
    # What a chunker put around a passage was not what ranked it.
    start, end = hit.found or (hit.start, hit.end)
    return item.start is None or item.end is None or (start < item.end and item.start < end)

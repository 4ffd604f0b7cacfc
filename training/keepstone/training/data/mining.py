"""The round trip through our own search, and the negatives that it yields.

A question is kept only if search finds its passage again. What else it finds are hard negatives: near the question, by
meaning or by words, yet not the answer. To keep true answers out of them ("false negatives"), a passage is no negative
when it holds the answer, nearly equals the positive, overlaps it, or comes so close to the question as the positive
itself (positive-aware mining: Moreira et al., 2024, "NV-Retriever: Improving text embedding models with effective
hard-negative mining").
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from keepstone.agents.support import SUPPORTED, Evidence
from keepstone.agents.types import Passage
from keepstone.platform.access import Scope
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.search import Searcher, SearchResult
from keepstone.retrieval.types import Hit
from keepstone.training.data.corpus import SourcePassage
from keepstone.training.data.rows import row_id

_LOOKED_AT = 50
# Share of the positive's score that a negative may reach.
_CLOSEST = 0.95


@dataclass(frozen=True, slots=True)
class Trip:
    """What search found for a question."""

    result: SearchResult
    rank: int | None
    """Place of the positive, from 1; None when it is not among those looked at."""


def round_trip(
    searcher: Searcher, scope: Scope, question: str, source: SourcePassage, groups: Mapping[int, int]
) -> Trip:
    """Search for a question's passage, comparing with every vector, so that the same corpus gives the same.

    Args:
        searcher: our own search.
        scope: the collection.
        question: what to search for.
        source: the passage to be found; a near-duplicate of it counts.
        groups: the group of near-duplicates by chunk.
    """
    result = searcher.search(scope, question, k=_LOOKED_AT, exact=True, widened=False)
    for rank, hit in enumerate(result.hits, 1):
        if hit.chunk_id == source.chunk_id or groups.get(hit.chunk_id) == source.group:
            return Trip(result, rank)
    return Trip(result, None)


def mine_negatives(
    trip: Trip,
    question: str,
    answer: str,
    source: SourcePassage,
    positive: str,
    *,
    corpus: Sequence[SourcePassage],
    by_chunk: Mapping[int, SourcePassage],
    encoder: Encoder,
    count: int,
    seed: int,
) -> list[SourcePassage]:
    """Return passages that do not answer a question: half by meaning, half by words, the nearest first.

    Where search finds too few, passages drawn from the rest of the corpus fill up.

    Args:
        trip: what search found.
        question: what was asked.
        answer: what must not stand in a negative; may be empty.
        source: the passage that answers.
        positive: as it is encoded.
        corpus: all passages; only those of the same side are taken.
        by_chunk: the same by chunk.
        encoder: scores the positive as search scored the others.
        count: how many are wanted.
        seed: for drawing.
    """
    if not count:
        return []
    by_meaning = trip.result.dense_weight > 0
    own = next((hit for hit in trip.result.hits if hit.chunk_id == source.chunk_id), None)
    near = own.dense_score if own is not None and positive == source.indexed_text else None
    if by_meaning and near is None:
        near = float(encoder.encode_documents([positive])[0] @ encoder.encode_query(question))

    def far_enough(hit: Hit) -> bool:
        if by_meaning:
            return hit.dense_score is not None and near is not None and hit.dense_score <= near * _CLOSEST
        return own is None or (hit.lexical_score or 0.0) <= (own.lexical_score or 0.0) * _CLOSEST

    hits = [hit for hit in trip.result.hits if hit.chunk_id in by_chunk and far_enough(hit)]
    meaning = sorted(hits, key=lambda hit: (-(hit.dense_score or 0.0), hit.chunk_id)) if by_meaning else []
    words = sorted(hits, key=lambda hit: (-(hit.lexical_score or 0.0), hit.chunk_id))
    ranked = _in_turn([hit.chunk_id for hit in meaning], [hit.chunk_id for hit in words])
    chosen: dict[int, SourcePassage] = {}
    _add_unanswering(chosen, (by_chunk[chunk] for chunk in ranked), answer, source, count)
    if len(chosen) < count:
        _add_unanswering(chosen, _drawn(corpus, question, source, 8 * count, seed), answer, source, count)
    return list(chosen.values())


def overlaps(one: SourcePassage, other: SourcePassage) -> bool:
    """Tell whether two passages share characters of one document."""
    return one.document_id == other.document_id and one.start < other.end and other.start < one.end


def _add_unanswering(
    chosen: dict[int, SourcePassage],
    candidates: Iterable[SourcePassage],
    answer: str,
    source: SourcePassage,
    count: int,
) -> None:
    """Add candidates that may be shown as not answering, by their groups, until there are `count`."""
    for each in candidates:
        if len(chosen) >= count:
            return
        if each.group not in chosen and _is_apart(each, source) and not _holds(each, answer):
            chosen[each.group] = each


def _is_apart(other: SourcePassage, source: SourcePassage) -> bool:
    """Tell whether a passage is another one, on the same side of the split.

    Its neighbours are not taken either: what a heading announces often goes on in the next passage.
    """
    beside = other.document_id == source.document_id and abs(other.ordinal - source.ordinal) <= 1
    return other.side == source.side and other.group != source.group and not beside and not overlaps(other, source)


def _holds(passage: SourcePassage, answer: str) -> bool:
    if not answer:
        return False
    support = Evidence((Passage(1, passage.hit(""), passage.text),)).best(answer)
    return support is not None and support.score >= SUPPORTED


def _in_turn(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """Return the items of both in turn, each once."""
    merged: dict[int, None] = {}
    for place in range(max(len(first), len(second))):
        for ranking in (first, second):
            if place < len(ranking):
                merged.setdefault(ranking[place])
    return list(merged)


def _drawn(
    corpus: Sequence[SourcePassage], question: str, source: SourcePassage, count: int, seed: int
) -> list[SourcePassage]:
    draw = random.Random(row_id(seed, question, source.document, source.start))  # noqa: S311 - repeatable, not secret
    others = [each for each in corpus if each.side == source.side and each.document_id != source.document_id]
    return draw.sample(others, min(len(others), count))

"""The round trip through our own search, and the negatives that it yields.

A question is kept only if search finds its passage again. What else it finds are hard negatives: near the question, by
meaning or by words, yet not the answer. To keep true answers out of them ("false negatives"), a passage is no negative
when it holds the answer, nearly equals the positive, overlaps it, or comes so close to the question as the positive
itself (positive-aware mining: Moreira et al., 2024, "NV-Retriever: Improving text embedding models with effective
hard-negative mining").
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
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
    result = searcher.search(scope, question, k=_LOOKED_AT, exact=True)
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
    closest = float(encoder.encode_documents([positive])[0] @ encoder.encode_query(question)) * _CLOSEST
    own = next((hit.lexical_score for hit in trip.result.hits if hit.chunk_id == source.chunk_id), None)
    by_meaning = trip.result.dense_weight > 0

    def far_enough(hit: Hit) -> bool:
        if by_meaning:
            return hit.dense_score is not None and hit.dense_score <= closest
        return own is None or hit.lexical_score is None or hit.lexical_score <= own * _CLOSEST

    found = {hit.chunk_id: by_chunk[hit.chunk_id] for hit in trip.result.hits if hit.chunk_id in by_chunk}
    usable = {each.chunk_id for each in _unanswering(list(found.values()), answer, source)}
    hits = [hit for hit in trip.result.hits if hit.chunk_id in usable and far_enough(hit)]
    meaning = sorted(hits, key=lambda hit: (-(hit.dense_score or 0.0), hit.chunk_id)) if by_meaning else []
    words = sorted(hits, key=lambda hit: (-(hit.lexical_score or 0.0), hit.chunk_id))
    chosen = [found[chunk] for chunk in _in_turn([h.chunk_id for h in meaning], [h.chunk_id for h in words])]
    distinct = {each.group: each for each in reversed(chosen)}
    nearest = [each for each in chosen if distinct[each.group] is each][:count]
    return nearest + _drawn(corpus, question, answer, source, taken=nearest, count=count - len(nearest), seed=seed)


def overlaps(one: SourcePassage, other: SourcePassage) -> bool:
    """Tell whether two passages share characters of one document."""
    return one.document_id == other.document_id and one.start < other.end and other.start < one.end


def _unanswering(candidates: Sequence[SourcePassage], answer: str, source: SourcePassage) -> list[SourcePassage]:
    """Return the candidates that may be shown as not answering."""
    apart = [
        each
        for each in candidates
        if each.side == source.side
        and each.group != source.group
        and not overlaps(each, source)
        # A long section in several passages answers in all of them, as far as a heading asks for it.
        and not (each.document_id == source.document_id and abs(each.ordinal - source.ordinal) <= 1)
    ]
    if not answer or not apart:
        return apart
    evidence = Evidence([Passage(number, each.hit(""), each.text) for number, each in enumerate(apart, 1)])
    free = []
    for number, each in enumerate(apart, 1):
        support = evidence.best(answer, prefer=number)
        if support is None or support.number != number or support.score < SUPPORTED:
            free.append(each)
    return free


def _in_turn(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """Return the items of both in turn, each once."""
    merged: dict[int, None] = {}
    for place in range(max(len(first), len(second))):
        for ranking in (first, second):
            if place < len(ranking):
                merged.setdefault(ranking[place])
    return list(merged)


def _drawn(
    corpus: Sequence[SourcePassage],
    question: str,
    answer: str,
    source: SourcePassage,
    *,
    taken: Sequence[SourcePassage],
    count: int,
    seed: int,
) -> list[SourcePassage]:
    if count <= 0:
        return []
    draw = random.Random(row_id(seed, question, source.document, source.start))  # noqa: S311 - repeatable, not secret
    groups = {each.group for each in taken}
    others = [each for each in corpus if each.document_id != source.document_id and each.group not in groups]
    found: dict[int, SourcePassage] = {}
    for each in _unanswering(draw.sample(others, min(len(others), 4 * count)), answer, source):
        found.setdefault(each.group, each)
    return list(found.values())[:count]

"""One search with several queries: each is searched for by itself, and their rankings are fused.

found = search_several(searcher, scope, [Query("How long is the warranty?"), Query("warranty period")], k=10)

The rankings are fused by reciprocal ranks (Cormack et al., SIGIR 2009): scores of different queries mean different
things. Of queries that say the same, a passage gains by each that finds it; of a query that asks for something else,
such as one side of a comparison, nothing can be expected to stand in the other rankings too, so a passage keeps the
best of its ranks. A query may bring a supposed answer along, whose vector is blended with its own (HyDE: Gao et al.,
2022, arXiv:2212.10496); words are searched for as they are asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from keepstone.platform.access import Scope
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.filters import Where
from keepstone.retrieval.hits import without_repeats
from keepstone.retrieval.search import Searcher, SearchResult
from keepstone.retrieval.types import Hit

RANK_CONSTANT: Final = 60
"""Of reciprocal rank fusion, as published."""
# So many hits of each query take part at least.
_DEPTH: Final = 50


@dataclass(frozen=True, slots=True)
class Query:
    """One of several queries."""

    text: str
    weight: float = 1.0
    """Of its ranking among those of the others; 0 is searched for and has no say."""
    supposed: str = ""
    """A passage that could be the answer, true or not."""
    separate: bool = False
    """Whether it asks for other passages than the rest: about a part of the question, or in another language."""


@dataclass(frozen=True, slots=True)
class SeveralResult:
    """What several queries found together."""

    hits: tuple[Hit, ...]
    """Best first; their scores are those of the fusion."""
    results: tuple[SearchResult, ...]
    """Of each query by itself."""
    ranks: tuple[tuple[int | None, ...], ...]
    """For each hit, its place in the result of each query, from 1; None where it is not in it."""

    @property
    def timings(self) -> Mapping[str, float]:
        """Milliseconds of the stages, of all queries together."""
        total: dict[str, float] = defaultdict(float)
        for result in self.results:
            for stage, milliseconds in result.timings.items():
                total[stage] += milliseconds
        return MappingProxyType(total)


@runtime_checkable
class BatchEncoder(Protocol):
    """An encoder that reads several questions at once faster than one after the other."""

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of questions: shape (n, d), unit length."""


def search_several(
    searcher: Searcher,
    scope: Scope,
    queries: Sequence[Query],
    *,
    k: int = 10,
    without: Collection[str] = (),
    where: Where | None = None,
    reranker: str | None = None,
    options: Mapping[str, Any] | None = None,
    explained: bool = False,
) -> SeveralResult:
    """Search for several queries, and fuse what they find.

    Args:
        searcher: searches for each.
        scope: the collections to look into.
        queries: at least one.
        k: how many passages.
        without: ids of documents to search as if they were not there.
        where: only documents of which this is known.
        reranker: as `Searcher.search` takes it; it reads what each query found.
        options: as `Searcher.search` takes them.
        explained: whether each result tells the place of its hits at every stage.

    Raises:
        InvalidInput: a query is empty, k is not positive, or `where` asks for what cannot be known.
        ModelMissing: an encoder or the reranker is not installed any more.
    """
    alone = len(queries) == 1 and not queries[0].supposed
    depth = k if alone else max(k, _DEPTH)
    vectors = _Vectors(queries)
    results = tuple(
        searcher.search(
            scope,
            query.text,
            k=depth,
            without=without,
            where=where,
            reranker=reranker,
            options=options,
            explained=explained,
            vector=None if alone else partial(vectors.of, at),
        )
        for at, query in enumerate(queries)
    )
    if len(results) == 1:
        hits = results[0].hits[:k]
        return SeveralResult(hits, results, tuple((rank,) for rank in range(1, len(hits) + 1)))
    places = [{hit.chunk_id: rank for rank, hit in enumerate(result.hits, 1)} for result in results]
    scores = _fused([[hit.chunk_id for hit in result.hits] for result in results], queries)
    first = {hit.chunk_id: hit for result in reversed(results) for hit in result.hits}
    # Of equals, what an earlier query found stays first.
    order = sorted((chunk for chunk in scores if scores[chunk] > 0), key=lambda chunk: -scores[chunk])
    hits = tuple(without_repeats(replace(first[chunk], score=scores[chunk]) for chunk in order))[:k]
    return SeveralResult(hits, results, tuple(tuple(place.get(hit.chunk_id) for place in places) for hit in hits))


def _fused(rankings: Sequence[Sequence[int]], queries: Sequence[Query]) -> Mapping[int, float]:
    """Return the best that a passage has: in any separate query, or on average in those that say the same."""
    ranked = list(zip(rankings, queries, strict=True))
    together = [(ranking, query.weight) for ranking, query in ranked if not query.separate]
    total = sum(weight for _, weight in together) or 1.0
    fusions = [reciprocal_ranks([ranking for ranking, _ in together], [weight / total for _, weight in together])]
    fusions += [reciprocal_ranks([ranking], [query.weight]) for ranking, query in ranked if query.separate]
    best: dict[int, float] = defaultdict(float)
    for fusion in fusions:
        for chunk, score in fusion.items():
            best[chunk] = max(best[chunk], score)
    return best


def reciprocal_ranks(rankings: Iterable[Iterable[int]], weights: Sequence[float] | None = None) -> Mapping[int, float]:
    """Return the fused score of everything that is ranked, in the order in which it comes first.

    Args:
        rankings: ids, best first.
        weights: of each ranking; all the same by default.
    """
    scores: dict[int, float] = defaultdict(float)
    for at, ranking in enumerate(rankings):
        for rank, each in enumerate(ranking, 1):
            scores[each] += (weights[at] if weights else 1.0) / (RANK_CONSTANT + rank)
    return scores


class _Vectors:
    """The vectors of all queries under each encoder, made at once when the first is asked for."""

    def __init__(self, queries: Sequence[Query]) -> None:
        self._queries = queries
        self._made: dict[str, NDArray[np.float32]] = {}

    def of(self, at: int, encoder: Encoder) -> NDArray[np.float32]:
        """Return the vector of one of the queries: shape (d,), unit length."""
        if encoder.version not in self._made:
            self._made[encoder.version] = self._encode(encoder)
        vector: NDArray[np.float32] = self._made[encoder.version][at]
        return vector

    def _encode(self, encoder: Encoder) -> NDArray[np.float32]:
        texts = [query.text for query in self._queries]
        if isinstance(encoder, BatchEncoder):
            vectors = encoder.encode_queries(texts)
        else:
            vectors = np.stack([encoder.encode_query(text) for text in texts])
        supposing = [at for at, query in enumerate(self._queries) if query.supposed]
        if supposing:
            blended = vectors[supposing] + encoder.encode_documents([self._queries[at].supposed for at in supposing])
            vectors[supposing] = blended / np.linalg.norm(blended, axis=1, keepdims=True)
        return vectors

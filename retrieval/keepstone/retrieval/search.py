"""Search: a question and a scope in, the best passages out.

result = Searcher(database, encoders, indexes, settings.search).search(scope, "How often is the filter changed?")

Both indexes of every collection in the scope propose candidates; those missing from one list are scored there too, the
two scores are fused, and the best are read from the database in one statement. What was deleted is not there any more,
even where the indexes have yet to learn it. Collections may have encoders of their own: the question is encoded once by
each, and what they find is made comparable before it is fused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from keepstone.platform.access import Scope
from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChunkRow, utc_now
from keepstone.platform.errors import InvalidInput
from keepstone.platform.settings import SearchSettings
from keepstone.retrieval import fusion
from keepstone.retrieval.analysis import tokens
from keepstone.retrieval.candidates import Candidates, Clock, Question, propose
from keepstone.retrieval.diversity import diversified
from keepstone.retrieval.embeddings import batched
from keepstone.retrieval.encoder import Encoder, knows_language
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.explain import Explanation, Scored, explain
from keepstone.retrieval.filters import Where, matching_chunks
from keepstone.retrieval.hits import hit_of, read_chunks, without_repeats
from keepstone.retrieval.indexes.catalog import IndexSet
from keepstone.retrieval.language import detect_language
from keepstone.retrieval.options import search_settings, with_own
from keepstone.retrieval.recency import ages, faded
from keepstone.retrieval.regularise import MOST, drawn_to_neighbours, read_places, regularise
from keepstone.retrieval.reranking import OFF, Rerankers
from keepstone.retrieval.reranking.ordering import rerank
from keepstone.retrieval.types import Hit

# What lies behind is not read: the encoder cuts far earlier, and so many words find no less.
_MAX_QUERY_CHARS = 20_000
_MAX_TERMS = 128
# Read so many more than asked for, in case some were deleted a moment ago.
_SPARE_HITS = 5
# Of so many times as many passages those are chosen that tell different things.
_DIVERSE_AMONG = 4


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What was found, and how."""

    hits: tuple[Hit, ...]
    """Best first."""
    query_language: str | None
    dense_weight: float
    """Weight that meaning had against words; the highest, where encoders differ in the languages that they know."""
    timings: Mapping[str, float]
    """Milliseconds of the stages: encode, analyse, dense, lexical, fuse, read, rerank."""
    index_seq: Mapping[str, int]
    """How far the index of each collection was in the change sequence."""
    encoders: Mapping[str, str]
    """The encoder, by version, under which each collection was searched."""
    reranker: str | None
    """The reranker, by version, that ordered the best of them; None where none did."""
    explanations: tuple[Explanation, ...]
    """Of each hit; empty unless asked for."""


class Searcher:
    """Searches collections by meaning and by words.

    Args:
        database: where the passages are.
        encoders: those whose vectors `indexes` hold.
        indexes: the indexes of all collections.
        settings: how many candidates, the weight of meaning, and the reranker, where collections chose nothing else.
        rerankers: those that may be used; by default `cosine` and `late` with the default encoder.
    """

    def __init__(
        self,
        database: Database,
        encoders: Encoders,
        indexes: IndexSet,
        settings: SearchSettings,
        rerankers: Rerankers | None = None,
    ) -> None:
        self._database = database
        self._encoders = encoders
        self._indexes = indexes
        self._settings = settings
        self._rerankers = rerankers or Rerankers(encoders.default)

    def search(
        self,
        scope: Scope,
        query: str,
        *,
        k: int = 10,
        candidates: int | None = None,
        exact: bool = False,
        encoder: str | None = None,
        without: Collection[str] = (),
        where: Where | None = None,
        dense_weight: float | None = None,
        reranker: str | None = None,
        options: Mapping[str, Any] | None = None,
        explained: bool = False,
        widened: bool = True,
        vector: Callable[[Encoder], NDArray[np.float32]] | None = None,
    ) -> SearchResult:
        """Find the passages that answer a question best.

        Args:
            scope: the collections to look into, as `readable_scope` gives it.
            query: in words; only its first 20,000 characters are read.
            k: how many passages.
            candidates: how many each index of each collection proposes; by default as the collections chose, where all
                in the scope chose the same, else `search.candidates`.
            exact: compare with every vector instead of walking the graph, to measure what the walk misses.
            encoder: version of the encoder whose indexes are searched, to judge it; each collection's own by default.
            without: ids of documents to search as if they were not there.
            where: only documents of which this is known, see `filters`.
            dense_weight: of meaning against words, 0 to 1; by default as for `candidates`.
            reranker: name of a reranker, or `off`; by default as for `candidates`.
            options: what else is to be otherwise than collections and settings say, as `SearchSettings` names it.
            explained: whether to tell the place of each hit at every stage.
            widened: whether passages are read with what their chunker put around them, instead of as they were found.
            vector: gives the query's vector under an encoder; by default that of its text.

        Raises:
            InvalidInput: the query is empty, k is not positive, or `where` asks for what cannot be known.
            Conflict: a collection has no complete index under `encoder`.
            ModelMissing: an encoder or the reranker is not installed any more.
        """
        query = query[:_MAX_QUERY_CHARS].strip().strip("\0")
        if not query:
            raise InvalidInput("The query is empty", fix="Ask for something, in words")
        if k < 1:
            raise InvalidInput(f"k is {k}", fix="Ask for at least one passage")
        clock = Clock()
        with self._database.reading() as session:
            settings = with_own(search_settings(session, scope, self._settings), options)
        indexes = [self._indexes.get(each, encoder) for each in dict.fromkeys(scope.collection_ids)]
        # Those of one encoder stand together, so that their candidates do.
        indexes.sort(key=lambda index: index.encoder_version)
        language = detect_language(query)
        terms = list(dict.fromkeys(tokens(query)))[:_MAX_TERMS]
        clock.lap("analyse")
        hidden = self._chunks_of(without)
        allowed = None if where is None else matching_chunks(self._database, scope.collection_ids, where).tolist()
        chosen = settings.reranker if reranker is None else reranker
        closer = None if chosen == OFF else self._rerankers.get(chosen)
        read = _DIVERSE_AMONG * k if settings.diversity else k
        if closer is not None:
            read = max(read, settings.rerank_candidates)
        count = max(candidates or settings.candidates, read + _SPARE_HITS) + len(hidden)
        meaning = settings.dense_weight if dense_weight is None else dense_weight
        questions: dict[str, Question] = {}
        for version in dict.fromkeys(index.encoder_version for index in indexes):
            known = self._encoders.get(version)
            weight = meaning if knows_language(known, language) else 0.0
            meant = vector(known) if vector else known.encode_query(query)
            questions[version] = Question(meant, terms, count, weight, exact, hidden, allowed)
        clock.lap("encode")
        pool = propose([(index, questions[index.encoder_version]) for index in indexes], clock)
        scored = self._scored(pool, settings, clock)
        found = self._hits(scope, scored, settings, step=read + _SPARE_HITS, widened=widened)
        hits = tuple(islice(without_repeats(found), read))
        clock.lap("read")
        if closer is not None:
            hits = tuple(rerank(closer, query, hits, weight=settings.rerank_weight))
            clock.lap("rerank")
        if settings.diversity:
            hits = _diverse(hits, pool, k, settings.diversity)
            clock.lap("diversify")
        return SearchResult(
            hits=hits[:k],
            query_language=language,
            dense_weight=max((each.weight for each in questions.values()), default=meaning),
            timings=MappingProxyType(clock.laps),
            index_seq=MappingProxyType({each.collection_id: each.seq for each in indexes}),
            encoders=MappingProxyType({each.collection_id: each.encoder_version for each in indexes}),
            reranker=closer.version if closer else None,
            explanations=explain(hits, scored)[:k] if explained else (),
        )

    def passages(self, scope: Scope, ids: Sequence[int]) -> dict[int, Hit]:
        """Return those of the passages, by the ids of their chunks, that are still there, without scores.

        Args:
            scope: the collections that they have to be in.
            ids: at most some thousands.
        """
        with self._database.reading() as session:
            return {chunk: hit_of(row) for chunk, row in read_chunks(session, scope, ids).items()}

    def _chunks_of(self, documents: Collection[str]) -> NDArray[np.int64]:
        if not documents:
            return np.empty(0, dtype=np.int64)
        query = sa.select(ChunkRow.id).where(ChunkRow.document_id.in_(documents)).order_by(ChunkRow.id)
        with self._database.reading() as session:
            return np.array(session.scalars(query).all(), dtype=np.int64)

    def _scored(self, pool: Candidates, settings: SearchSettings, clock: Clock) -> Scored:
        """Fuse both scores of each candidate, regularise the best, and let them fade with age, as the settings say."""
        convex = fusion.fuse(pool.dense, pool.lexical, dense_weight=pool.weights, groups=pool.encoders)
        fused = convex
        if settings.fusion == "rrf":
            fused = fusion.reciprocal_ranks(pool.dense, pool.lexical, dense_weight=pool.weights, groups=pool.encoders)
        clock.lap("fuse")
        regularised = fused
        if settings.regularisation:
            best, weight = fusion.order(fused, pool.ids)[:MOST], settings.regularisation
            with self._database.reading() as session:
                places = read_places(session, pool.ids[best].tolist())
            drawn = drawn_to_neighbours(fused[best], places, weight=weight)
            regularised = fused.copy()
            regularised[best] = regularise(drawn, pool.likeness(best), weight=weight)
            clock.lap("regularise")
        final = regularised
        if settings.half_life_days is not None:
            with self._database.reading() as session:
                days = ages(session, pool.ids.tolist(), utc_now())
            final = faded(regularised, days, half_life=settings.half_life_days)
            clock.lap("fade")
        return Scored(pool, convex, fused, regularised, final)

    def _hits(
        self, scope: Scope, scored: Scored, settings: SearchSettings, *, step: int, widened: bool
    ) -> Iterator[Hit]:
        """Yield what is still there, best first, read so many at once."""
        pool = scored.pool
        for some in batched(fusion.order(scored.final, pool.ids).tolist(), step):
            ids = pool.ids[some].tolist()
            with self._database.reading() as session:
                rows = read_chunks(session, scope, ids, widened=widened, neighbours=settings.neighbours)
            for at, chunk in zip(some, ids, strict=True):
                if chunk in rows:
                    dense, lexical = float(pool.dense[at]), float(pool.lexical[at])
                    yield hit_of(rows[chunk], float(scored.final[at]), dense, lexical, float(scored.convex[at]))


def _diverse(hits: Sequence[Hit], pool: Candidates, k: int, diversity: float) -> tuple[Hit, ...]:
    row_of = {int(chunk): row for row, chunk in enumerate(pool.ids)}
    rows = np.array([row_of[hit.chunk_id] for hit in hits], dtype=np.int64)
    scores = np.array([hit.score for hit in hits])
    return tuple(hits[at] for at in diversified(scores, pool.likeness(rows), k, diversity=diversity))

"""From passages to rows: questions, their round trip, their negatives, and the exchange for the language model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from keepstone.platform.access import Scope
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.search import Searcher
from keepstone.training.data.candidates import Candidate, Fault
from keepstone.training.data.config import DatasetConfig
from keepstone.training.data.corpus import Corpus, SourcePassage
from keepstone.training.data.exchanges import PromptBudget, exchange
from keepstone.training.data.feedback import Judged
from keepstone.training.data.mining import Trip, mine_negatives, round_trip
from keepstone.training.data.rows import ChatRow, PreferenceRow, RetrievalRow, Side, row_id
from keepstone.training.data.sentences import Rarity


class Found(BaseModel):
    """What one candidate or one person's feedback gave."""

    model_config = ConfigDict(frozen=True)

    side: Side
    retrieval: RetrievalRow | None
    chat: ChatRow | None
    preference: PreferenceRow | None = None
    chunks: tuple[int, ...]
    """Every chunk whose text is in these rows."""


class UnitResult(BaseModel):
    """What one unit of a build gave."""

    model_config = ConfigDict(frozen=True)

    found: tuple[Found, ...]
    dropped: dict[str, int]


class Workshop:
    """Makes rows from candidates, for one build.

    Args:
        corpus: what the dataset is made from.
        searcher: our own search.
        scope: the collection.
        encoders: those that search uses.
        budget: of the prompt.
        config: how many negatives, and how far down a passage may be found.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        searcher: Searcher,
        scope: Scope,
        encoders: Encoders,
        budget: PromptBudget,
        config: DatasetConfig,
    ) -> None:
        self.corpus = corpus
        self.by_chunk: Mapping[int, SourcePassage] = corpus.by_chunk
        self._groups = {chunk_id: each.group for chunk_id, each in self.by_chunk.items()}
        self._searcher, self._scope, self._encoders = searcher, scope, encoders
        self._budget, self._config = budget, config

    @cached_property
    def rarity(self) -> Rarity:
        """How rare words are in the corpus."""
        return Rarity(self.corpus.passages)

    def from_candidates(self, candidates: Iterable[Candidate | Fault]) -> UnitResult:
        """Return the rows of the candidates that search finds again, and why the others were dropped."""
        found: list[Found] = []
        dropped: Counter[str] = Counter()
        for each in candidates:
            made = self._from_candidate(each) if isinstance(each, Candidate) else each
            if isinstance(made, Found):
                found.append(made)
            else:
                dropped[made] += 1
        return UnitResult(found=tuple(found), dropped=dict(sorted(dropped.items())))

    def from_feedback(self, judged: Sequence[Judged], dropped: Mapping[str, int]) -> UnitResult:
        """Return the rows that feedback gives; what people found relevant needs no round trip."""
        return UnitResult(found=tuple(map(self._from_judged, judged)), dropped=dict(dropped))

    def _from_candidate(self, candidate: Candidate) -> Found | Fault:
        source = candidate.source
        trip = self._trip(candidate.question, source)
        if trip.rank is None or trip.rank > self._config.found_within:
            return "passage_not_found_again"
        negatives = self._negatives(trip, candidate.question, candidate.answer, source, candidate.positive)
        row = RetrievalRow(
            id=row_id(candidate.kind, source.document, source.start, source.end, candidate.question),
            question=candidate.question,
            answer=candidate.answer,
            positive=candidate.positive,
            negatives=tuple(each.indexed_text for each in negatives),
            positive_chunk=source.chunk_id,
            document=source.document,
            language=source.language,
            source="generated",
            kind=candidate.kind,
        )
        chat: ChatRow | None = None
        shown: tuple[int, ...] = ()
        # A sentence is no question that the language model should learn to answer by repeating it.
        if candidate.kind != "sentence" and (made := self._exchange(candidate, trip)) is not None:
            chat, shown = made
        used = (source.chunk_id, *(each.chunk_id for each in negatives), *shown)
        return Found(side=source.side, retrieval=row, chat=chat, chunks=tuple(dict.fromkeys(used)))

    def _from_judged(self, judged: Judged) -> Found:
        asked, used = judged.asked, list(judged.chunks)
        row: RetrievalRow | None = None
        side: Side = "train"
        if asked is not None:
            source, side = asked.source, asked.source.side
            negatives = list(asked.irrelevant[: self._config.negatives])
            trip = self._trip(asked.question, source)
            known = {each.group for each in negatives}
            mined = self._negatives(trip, asked.question, asked.answer, source, source.indexed_text)
            negatives += [each for each in mined if each.group not in known]
            negatives = negatives[: self._config.negatives]
            used += [source.chunk_id, *(each.chunk_id for each in negatives)]
            row = RetrievalRow(
                id=row_id("asked", source.document, source.start, source.end, asked.question),
                question=asked.question,
                answer=asked.answer,
                positive=source.indexed_text,
                negatives=tuple(each.indexed_text for each in negatives),
                positive_chunk=source.chunk_id,
                document=source.document,
                language=source.language,
                source="feedback",
                kind="asked",
            )
        return Found(
            side=side,
            retrieval=row,
            chat=judged.chat,
            preference=judged.preference,
            chunks=tuple(dict.fromkeys(used)),
        )

    def _trip(self, question: str, source: SourcePassage) -> Trip:
        return round_trip(self._searcher, self._scope, question, source, self._groups)

    def _negatives(
        self, trip: Trip, question: str, answer: str, source: SourcePassage, positive: str
    ) -> list[SourcePassage]:
        return mine_negatives(
            trip,
            question,
            answer,
            source,
            positive,
            corpus=self.corpus.passages,
            by_chunk=self.by_chunk,
            encoder=self._encoders.get(trip.result.encoders[self.corpus.collection_id]),
            count=self._config.negatives,
            seed=self._config.seed,
        )

    def _exchange(self, candidate: Candidate, trip: Trip) -> tuple[ChatRow, tuple[int, ...]] | None:
        return exchange(
            candidate.question,
            candidate.answer,
            candidate.source,
            trip.result.hits,
            by_chunk=self.by_chunk,
            budget=self._budget,
            seed=self._config.seed,
        )


def kinds_of(rows: Iterable[Any]) -> dict[str, int]:
    """Count retrieval rows by their kind."""
    return dict(sorted(Counter(row.kind for row in rows).items()))

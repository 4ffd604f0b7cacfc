"""Asking one held-out question through the real pipeline, and scoring what comes back.

Search is tried under any encoder that the collection has an index for; answering, with any engine. Nothing that is
asked here is kept in anybody's history.
"""

from __future__ import annotations

from collections.abc import Collection

from keepstone.agents.answering import Answerer
from keepstone.agents.evidence import ABSTAIN_BELOW, HITS_NEEDED, weigh
from keepstone.agents.packing import pack
from keepstone.agents.types import Answer, Finished, Passage, Trial
from keepstone.platform.access import Principal, Scope
from keepstone.platform.settings import AnsweringSettings
from keepstone.retrieval.encoder import Encoder
from keepstone.retrieval.search import Searcher, SearchResult
from keepstone.training.evaluate.held_out import HeldOut
from keepstone.training.evaluate.scoring import (
    K,
    abstention,
    answer_scores,
    answered_elsewhere,
    search_scores,
)


class SearchTrial:
    """Search in one collection under one encoder; also whether the evidence would be enough to answer.

    Args:
        searcher: the real one.
        scope: the collection.
        version: of the encoder to try; the collection must have an index under it.
        encoder: the one that answering weighs evidence with, whichever found it.
        settings: how passages are packed, and below which evidence an answer is declined.
    """

    def __init__(
        self, searcher: Searcher, scope: Scope, version: str, *, encoder: Encoder, settings: AnsweringSettings
    ) -> None:
        self._searcher, self._scope, self._version = searcher, scope, version
        self._encoder, self._settings = encoder, settings

    def scores(self, question: HeldOut) -> dict[str, float]:
        """Ask a question with its document and without."""
        found = self._search(question, ())
        declined, _ = self._weigh(question, found)
        declined_without, others = self._weigh(question, self._search(question, (question.document_id,)))
        decisions = abstention(
            declined=declined,
            declined_without=None if answered_elsewhere(question, others) else declined_without,
        )
        return {**search_scores(question, found.hits), "abstention": decisions}

    def _search(self, question: HeldOut, without: Collection[str]) -> SearchResult:
        k = max(K, HITS_NEEDED)
        return self._searcher.search(self._scope, question.question, k=k, encoder=self._version, without=without)

    def _weigh(self, question: HeldOut, found: SearchResult) -> tuple[bool, tuple[Passage, ...]]:
        """Return whether the evidence is too weak to answer, as answering does, and the packed passages."""
        settings = self._settings
        passages = pack(
            found.hits,
            limit=settings.passages,
            budget=settings.max_context_tokens,
            # The engine's own count differs little, and only decides where the last passage is cut.
            count_tokens=self._encoder.count_tokens,
        )
        least = ABSTAIN_BELOW if settings.abstain_below is None else settings.abstain_below
        weighed = weigh(question.question, found, passages, self._encoder)
        return not passages or weighed.strength < least, passages


class AnswerTrial:
    """Answers about one collection from one engine.

    Args:
        answerer: the pipeline with that engine.
        principal: who judges; they must be able to read the collection.
        collection_id: where the answers stand.
    """

    def __init__(self, answerer: Answerer, principal: Principal, collection_id: str) -> None:
        self._answerer, self._principal, self._collection_id = answerer, principal, collection_id

    async def scores(self, question: HeldOut) -> dict[str, float]:
        """Ask a question with its document and without."""
        answer = await self._ask(question, ())
        without = await self._ask(question, (question.document_id,))
        decisions = abstention(
            declined=answer.outcome == "declined",
            declined_without=None if answered_elsewhere(question, without.passages) else without.outcome == "declined",
        )
        return {**answer_scores(question, answer), "abstention": decisions}

    async def _ask(self, question: HeldOut, without: tuple[str, ...]) -> Answer:
        events = self._answerer.answer(
            self._principal, question.question, collections=[self._collection_id], trial=Trial(without)
        )
        async for event in events:
            if isinstance(event, Finished):
                return event.answer
        raise AssertionError("an answer always finishes")

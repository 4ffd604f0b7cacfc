"""Questions about a collection that nobody has judged, made from its passages as datasets for training are.

A language model that is large enough writes one about each passage (see `data.writing`); otherwise the documents' own
words stand in: rare words of a passage, or its heading (see `data.sentences`). What answers is the sentence that the
question was made from. A question whose passage search does not find at all, among fifty, is no good one and left out;
so figures on these questions are higher than people would find them. They are for comparing.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from keepstone.agents.types import AnsweringModel
from keepstone.platform.access import Scope
from keepstone.platform.database import Database
from keepstone.platform.serving.engine import Engine
from keepstone.retrieval.search import Searcher
from keepstone.training.data.candidates import Candidate, Fault
from keepstone.training.data.config import DatasetConfig
from keepstone.training.data.corpus import Corpus, SourcePassage, take_corpus
from keepstone.training.data.mining import round_trip
from keepstone.training.data.sentences import Rarity, take_questions
from keepstone.training.data.writing import write_questions
from keepstone.training.relevance.questions import Item, Question

MadeFrom = Literal["written", "sentences"]
PASSAGES: Final = 200
"""About so many passages questions are made."""


@dataclass(frozen=True, slots=True)
class Made:
    """Questions about some passages."""

    questions: tuple[Question, ...]
    left_out: dict[str, int]


class QuestionMaker:
    """Makes questions.

    Args:
        database: where collections are.
        searcher: finds the passages again.
        connect: gives a client of the language model for an event loop of its own; closed after use.
        model: tells which language model answers now, and whether it can write.
    """

    def __init__(
        self,
        database: Database,
        searcher: Searcher,
        connect: Callable[[], Engine],
        model: Callable[[], AnsweringModel],
    ) -> None:
        self._database, self._searcher, self._connect, self._model = database, searcher, connect, model

    def source(self) -> MadeFrom:
        """Return what questions would be made from now."""
        return "written" if self._model().style == "write" else "sentences"

    def take(self, path: Path, collection_id: str, name: str, check: Callable[[], None]) -> int:
        """Keep in a file what questions are to be made from; return how many passages they are made about.

        Raises:
            InvalidInput: the collection is too small, or its documents are nearly all the same.
        """
        corpus = take_corpus(
            self._database, collection_id, name, DatasetConfig(collection=collection_id, passages=PASSAGES), check
        )
        corpus.save(path)
        return len(corpus.asked)

    def make(
        self, path: Path, places: tuple[int, int], scope: Scope, source: MadeFrom, check: Callable[[], None]
    ) -> Made:
        """Make questions about some of the passages.

        Args:
            path: of the file that `take` wrote.
            places: first and last but one of the passages.
            scope: the collection.
            source: what they are made from.
            check: called often; what it raises ends the work.

        Raises:
            EngineUnavailable: the language model does not answer.
        """
        corpus = Corpus.load(path)
        groups = Counter(each.group for each in corpus.passages)
        # Sides are for training: here all are asked. What stands in two passages has two answers, of which we know one.
        some = [corpus.passages[place] for place in corpus.asked[slice(*places)]]
        sources = [replace(each, side="test") for each in some if groups[each.group] == 1]
        questions: list[Question] = []
        left_out: Counter[str] = Counter()
        for each in self._candidates(corpus, sources, source, check):
            check()
            if not isinstance(each, Candidate):
                left_out[f"made_but_{each}"] += 1
            elif round_trip(self._searcher, scope, each.question, each.source, {}).rank is None:
                left_out["made_but_passage_not_found_again"] += 1
            else:
                questions.append(Question(each.question, (_answer(each),)))
        return Made(tuple(questions), dict(left_out))

    def _candidates(
        self, corpus: Corpus, sources: Sequence[SourcePassage], source: MadeFrom, check: Callable[[], None]
    ) -> Sequence[Candidate | Fault]:
        if source == "sentences":
            rarity = Rarity(corpus.passages)
            return [one for each in sources for one in take_questions(each, corpus.collection_id, rarity, seed=0)]

        async def write() -> list[Candidate | Fault]:
            engine = self._connect()
            try:
                return await write_questions(engine, corpus.collection_id, sources, seed=0, check=check)
            finally:
                await engine.close()

        return asyncio.run(write())


def _answer(candidate: Candidate) -> Item:
    """Return where the answer stands, so that passages that are cut otherwise can hold it; else the whole passage."""
    source = candidate.source
    words = re.compile(r"\s+".join(map(re.escape, candidate.answer.split())))
    found = words.search(source.text) if candidate.answer.strip() else None
    start, end = found.span() if found else (0, len(source.text))
    return Item(source.document_id, source.start + start, source.start + end)

"""Evaluating a collection for its owner, with the judgements that it has or with others.

Evaluator(database, searcher, judgements, adoption).evaluate(principal, "handbook", k=10).figures
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.access import Principal, Scope, find_collection, readable_scope
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, DocumentRow
from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.search import Searcher
from keepstone.training.data.corpus import MIN_DOCUMENTS
from keepstone.training.relevance.adoption import Adoption
from keepstone.training.relevance.judgements import Judgement, Judgements
from keepstone.training.relevance.measure import Report, Scores, Source, figures, measure, missed
from keepstone.training.relevance.questions import Question, judged, thumbed
from keepstone.training.relevance.ways import Way

MOST_QUESTIONS: Final = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """A collection with its judged questions."""

    collection_id: str
    collection: str
    """Its name."""
    scope: Scope
    way: Way
    """In which it is searched."""
    questions: tuple[Question, ...]
    """In an order that depends on their texts alone; none where they are yet to be made."""
    source: Source
    """Where they come from."""
    left_out: Mapping[str, int]


class Evaluator:
    """Measures how well collections are searched.

    Args:
        database: where documents and feedback are.
        searcher: searches.
        judgements: of the collections.
        adoption: knows the way in which each collection is searched.
    """

    def __init__(self, database: Database, searcher: Searcher, judgements: Judgements, adoption: Adoption) -> None:
        self._database, self._searcher, self._judgements, self._adoption = database, searcher, judgements, adoption

    def evaluate(
        self, principal: Principal, collection: str, *, k: int = 10, judgements: Sequence[Judgement] | None = None
    ) -> Report:
        """Ask the judged questions, at most 500, and tell what the rankings are worth.

        Args:
            principal: who asks; must own the collection, since the questions may be those of others.
            collection: name or id.
            k: how many of the first places count.
            judgements: to be used instead of those that the collection has, and of what people thought of answers.

        Raises:
            InvalidInput: there is no judged question whose answer is in the collection.
        """
        asked = self.questions(principal, collection, judgements)
        scores = measure(self._searcher, asked.scope, asked.questions, asked.way, k=k)
        return self.report(asked, scores, k)

    def report(self, asked: Asked, scores: Sequence[Scores], k: int) -> Report:
        """Tell what rankings are worth.

        Args:
            asked: the questions, put in the way in use.
            scores: what the ranking of each is worth, as `measure` returns it.
            k: how many of the first places counted.
        """
        questions = asked.questions
        found = self._searcher.search(asked.scope, questions[0].text, k=1, reranker=asked.way.reranker)
        return Report(
            collection=asked.collection,
            questions=len(questions),
            documents=len({each.document for each in questions}),
            source=asked.source,
            k=k,
            way=asked.way,
            encoder=found.encoders[asked.collection_id],
            reranker=found.reranker,
            figures=figures(questions, scores),
            misses=missed(questions, scores, k),
            left_out=asked.left_out,
        )

    def questions(self, principal: Principal, collection: str, judgements: Sequence[Judgement] | None = None) -> Asked:
        """Return the judged questions of a collection.

        Raises:
            InvalidInput: there are none.
        """
        asked = self.judged(principal, collection, judgements)
        if not asked.questions:
            raise InvalidInput(
                f"No question has been judged whose answer is in {asked.collection!r}",
                fix="Hand some in: `keepstone eval retrieval --collection NAME --judgements FILE`",
            )
        return asked

    def judged(self, principal: Principal, collection: str, judgements: Sequence[Judgement] | None = None) -> Asked:
        """Return the judged questions of a collection, of which there may be none.

        Args:
            principal: who asks; must own the collection.
            collection: name or id.
            judgements: to be used instead of those that the collection has, and of what people thought of answers.
        """
        given = self._judgements.list(principal, collection) if judgements is None else judgements
        with self._database.reading() as session:
            row = find_collection(session, principal, collection, "own")
            questions, dropped = judged(session, row.id, given)
            if judgements is None:
                # What was written down counts for more than a thumb on the same question.
                known = {each.text for each in questions}
                liked, without = thumbed(session, row.id)
                questions += [each for each in liked if each.text not in known]
                dropped += without
            asked = self._about(session, principal, row, "judged")
        return replace(asked, questions=self.some_of(questions, dropped), left_out=dict(dropped))

    def unjudged(self, principal: Principal, collection: str, source: Source) -> Asked:
        """Return a collection whose questions are yet to be made.

        Raises:
            InvalidInput: it is too small for that.
        """
        with self._database.reading() as session:
            row = find_collection(session, principal, collection, "own")
            ready = sa.select(sa.func.count()).where(DocumentRow.collection_id == row.id, DocumentRow.chunk_count > 0)
            if (session.scalar(ready) or 0) < MIN_DOCUMENTS:
                raise InvalidInput(
                    f"Questions about {row.name!r} have not been judged, and it is too small to make some",
                    fix="Hand some in: `keepstone eval retrieval --collection NAME --judgements FILE`",
                )
            return self._about(session, principal, row, source)

    @staticmethod
    def some_of(questions: Sequence[Question], left_out: Counter[str]) -> tuple[Question, ...]:
        """Return at most 500 questions, in an order that depends on their texts alone; count the others."""
        chosen = sorted(questions, key=lambda each: hashlib.sha256(each.text.encode("utf-8", "replace")).digest())
        if len(chosen) > MOST_QUESTIONS:
            left_out["questions_beyond_the_first_500"] += len(chosen) - MOST_QUESTIONS
        return tuple(chosen[:MOST_QUESTIONS])

    def _about(self, session: Session, principal: Principal, row: CollectionRow, source: Source) -> Asked:
        scope = readable_scope(session, principal, [row.id])
        return Asked(row.id, row.name, scope, self._adoption.way(row), (), source, {})

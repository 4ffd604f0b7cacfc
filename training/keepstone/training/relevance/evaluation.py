"""Evaluating a collection for its owner, with the judgements that it has or with others.

Evaluator(database, searcher, judgements, adoption).evaluate(principal, "handbook", k=10).figures
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keepstone.platform.access import Principal, Scope, find_collection, readable_scope
from keepstone.platform.database import Database
from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.search import Searcher
from keepstone.training.relevance.adoption import Adoption
from keepstone.training.relevance.judgements import Judgement, Judgements
from keepstone.training.relevance.measure import Report, Scores, figures, measure, missed
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
    """At least one."""
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
            k=k,
            way=asked.way,
            encoder=found.encoders[asked.collection_id],
            reranker=found.reranker,
            figures=figures(questions, scores),
            misses=missed(questions, scores, k),
            left_out=asked.left_out,
        )

    def questions(self, principal: Principal, collection: str, judgements: Sequence[Judgement] | None = None) -> Asked:
        """Return the judged questions of a collection, in an order that depends on their texts alone.

        Raises:
            InvalidInput: there are none.
        """
        given = self._judgements.list(principal, collection) if judgements is None else judgements
        with self._database.reading() as session:
            row = find_collection(session, principal, collection, "own")
            scope = readable_scope(session, principal, [row.id])
            questions, dropped = judged(session, row.id, given)
            if judgements is None:
                # What was written down counts for more than a thumb on the same question.
                known = {each.text for each in questions}
                liked, without = thumbed(session, row.id)
                questions += [each for each in liked if each.text not in known]
                dropped += without
            collection_id, name, way = row.id, row.name, self._adoption.way(row)
        if not questions:
            raise InvalidInput(
                f"No question has been judged whose answer is in {name!r}",
                fix="Hand some in: `keepstone eval retrieval --collection NAME --judgements FILE`",
            )
        chosen = sorted(questions, key=lambda each: hashlib.sha256(each.text.encode("utf-8", "replace")).digest())
        if len(chosen) > MOST_QUESTIONS:
            dropped["questions_beyond_the_first_500"] += len(chosen) - MOST_QUESTIONS
        return Asked(collection_id, name, scope, way, tuple(chosen[:MOST_QUESTIONS]), dict(dropped))

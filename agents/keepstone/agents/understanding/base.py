"""What a way to understand a question is: a technique that makes further queries of it.

Each technique stands in a module of its own and keeps the protocol `Technique`. It yields its queries as they come,
so that those made by the time when it fails or is stopped still count.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import sqlalchemy as sa
from anyio.to_thread import run_sync

from keepstone.agents.understanding.model import BoundedModel
from keepstone.platform.access import Principal, Scope, readable_scope
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, DocumentRow, DocumentState
from keepstone.retrieval.search import Searcher
from keepstone.retrieval.several import Query
from keepstone.retrieval.types import Hit

Intent = Literal["search", "chat", "aggregate", "compare"]
"""`chat`: small talk, which no document answers. `aggregate`: all there is of something. `compare`: two things."""


@dataclass(frozen=True, slots=True)
class Further:
    """A query that a technique made."""

    query: Query
    technique: str
    replaces: bool = False
    """Whether it takes the place of the question itself, whose own ranking then has no say."""
    speaks: bool = False
    """Whether it says what the question does in words nearer to the documents', so that evidence is weighed by it."""


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents that are asked, as techniques may look into them: within what the asker may read."""

    database: Database
    searcher: Searcher
    principal: Principal
    collections: Sequence[str] | None
    """Names or ids; None means all that the asker may read."""
    without: tuple[str, ...] = ()
    """Ids of documents to search as if they were not there."""

    def scope(self) -> Scope:
        """Return what may be searched at this moment.

        Raises:
            NotFound: there is no such collection.
        """
        with self.database.reading() as session:
            return readable_scope(session, self.principal, self.collections)

    async def find(self, query: str, k: int) -> tuple[Hit, ...]:
        """Return the passages that fit a query best."""

        def found() -> tuple[Hit, ...]:
            return self.searcher.search(self.scope(), query, k=k, without=self.without).hits

        return await run_sync(found)

    def names(self) -> list[str]:
        """Return the names of the collections.

        Raises:
            NotFound: there is no such collection.
        """
        wanted = self.scope().collection_ids
        query = sa.select(CollectionRow.name).where(CollectionRow.id.in_(wanted)).order_by(CollectionRow.name)
        with self.database.reading() as session:
            return list(session.scalars(query))

    async def languages(self) -> Mapping[str, int]:
        """Return how many documents are in each language that could be told."""
        return await run_sync(self._languages)

    def _languages(self) -> dict[str, int]:
        query = (
            sa.select(DocumentRow.language, sa.func.count())
            .where(DocumentRow.collection_id.in_(self.scope().collection_ids))
            .where(DocumentRow.state == DocumentState.READY, DocumentRow.language.is_not(None))
            .group_by(DocumentRow.language)
        )
        with self.database.reading() as session:
            return {str(language): count for language, count in session.execute(query)}


class Technique(Protocol):
    """A way to understand a question."""

    name: str
    needs_model: bool
    """Whether it asks the language model, one that is large enough to write."""

    def queries(self, question: str, documents: Documents, model: BoundedModel) -> AsyncGenerator[Further, None]:
        """Yield what else to search for; nothing where that would be of no use.

        Args:
            question: as it would be asked without the conversation.
            documents: those that are asked.
            model: the language model, with what the technique may spend of it.

        Raises:
            Unusable: the model did not answer in a way that can be used.
            KeepstoneError: the model or the search does not work.
        """
        ...

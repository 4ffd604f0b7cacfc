"""Searching a collection for a trial: as it is, or a copy of it that is cut in another way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from keepstone.platform.database import Database
from keepstone.platform.database.tables import ChunkRow, CollectionRow
from keepstone.platform.errors import NotFound
from keepstone.platform.models.registry import ModelRegistry
from keepstone.platform.settings import ChunkingSettings, SearchSettings
from keepstone.retrieval.chunking import chunking_of
from keepstone.retrieval.chunking.placement import Placer
from keepstone.retrieval.encoders import Encoders
from keepstone.retrieval.options import with_own
from keepstone.retrieval.recut import open_recut
from keepstone.retrieval.reranking import LATE, Rerankers
from keepstone.retrieval.reranking.bi_encoder import TokenEncoder
from keepstone.retrieval.search import Searcher
from keepstone.training.relevance.ways import Way, cuts, ways


class Trials:
    """What can be tried, and the searchers to try it with.

    Args:
        database: where the collections are.
        encoders: make the vectors of copies.
        rerankers: may be tried.
        registry: of the installed ones.
        search: how collections without a choice of their own are searched.
        chunking: how their documents are cut.
        placer: asks the language model for the places of passages, where their collection wants that.
    """

    def __init__(
        self,
        database: Database,
        *,
        encoders: Encoders,
        rerankers: Rerankers,
        registry: ModelRegistry,
        search: SearchSettings,
        chunking: ChunkingSettings,
        placer: Placer | None = None,
    ) -> None:
        self._database, self._encoders, self._rerankers, self._registry = database, encoders, rerankers, registry
        self._search, self._chunking, self._placer = search, chunking, placer

    def passages(self, collection_id: str) -> int:
        """Return how many passages a collection has."""
        count = sa.select(sa.func.count()).select_from(ChunkRow).where(ChunkRow.collection_id == collection_id)
        with self._database.reading() as session:
            return session.scalar(count) or 0

    def ways(self, current: Way) -> list[Way]:
        """Return the ways that are worth trying with passages as they are cut, the current one first."""
        cheap = [LATE] if isinstance(self._encoders.default, TokenEncoder) else []
        return ways(current, cheap, [each.name for each in self._registry.list("reranker")])

    def cuts(self, collection_id: str, current: Way, *, sizes: bool) -> list[Way]:
        """Return the current way with its passages cut in all the ways that are worth trying.

        Args:
            collection_id: whose passages.
            current: the way in use.
            sizes: whether passages of other sizes may be compared.
        """
        row = self._row(collection_id)
        longest = self._encoders.get(row.encoder).max_tokens if sizes else None
        return cuts(current, chunking_of(row, self._chunking), longest=longest)

    @contextmanager
    def recut(self, folder: Path, collection_id: str, way: Way, check: Callable[[], None]) -> Iterator[Searcher]:
        """Return what searches a copy of a collection, cut as a way has it, as long as the context lasts.

        Args:
            folder: of the copy; whoever names it deletes it.
            collection_id: which is copied.
            way: whose cut.
            check: called often; what it raises ends the work.
        """
        row = self._row(collection_id)
        cut = ChunkingSettings.model_validate(chunking_of(row, self._chunking).model_dump() | way.chunking)
        with open_recut(
            folder,
            self._database,
            collection_id,
            encoders=self._encoders,
            chunking=cut,
            placer=self._placer,
            check=check,
        ) as copy:
            own = with_own(self._search, row.search)
            yield Searcher(copy.database, self._encoders, copy.indexes, own, self._rerankers)

    def _row(self, collection_id: str) -> CollectionRow:
        with self._database.reading() as session:
            row = session.get(CollectionRow, collection_id)
        if row is None:
            raise NotFound(f"No collection {collection_id!r}", fix="It may have been deleted")
        return row

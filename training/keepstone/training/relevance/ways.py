"""Ways of searching: how a collection is cut, and how its passages are found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from keepstone.platform.database.tables import CollectionRow
from keepstone.platform.settings import ChunkingSettings, SearchSettings
from keepstone.retrieval.chunking import chunking_of
from keepstone.retrieval.options import with_own
from keepstone.retrieval.reranking import OFF

_WEIGHTS = (0.0, 0.3, 0.5, 0.7, 1.0)
_CANDIDATES = (50, 200)
_SEARCH = ("dense_weight", "candidates", "reranker")


@dataclass(frozen=True, slots=True)
class Way:
    """One way of searching, in the words of the settings under `search` and `chunking`."""

    dense_weight: float
    candidates: int
    reranker: str
    chunker: str
    max_tokens: int

    @property
    def search(self) -> dict[str, Any]:
        """Return the settings under `search`."""
        return {name: value for name, value in asdict(self).items() if name in _SEARCH}

    @property
    def chunking(self) -> dict[str, Any]:
        """Return the settings under `chunking`."""
        return {name: value for name, value in asdict(self).items() if name not in _SEARCH}


def way_of(collection: CollectionRow, search: SearchSettings, chunking: ChunkingSettings) -> Way:
    """Return the way in which a collection is searched.

    Args:
        collection: which; its own choices count.
        search: the settings, for what it did not choose.
        chunking: the same.
    """
    found, cut = with_own(search, collection.search), chunking_of(collection, chunking)
    return Way(found.dense_weight, found.candidates, found.reranker, cut.chunker, cut.max_tokens)


def ways(current: Way, rerankers: Iterable[str]) -> list[Way]:
    """Return the ways that are worth trying with passages as they are cut, the current one first.

    Weights are tried under every reranker, since one that judges by meaning leaves more to words; numbers of candidates
    only beside the current way, since they matter less.

    Args:
        current: the way in use.
        rerankers: those that there are, besides none at all.
    """
    tried = [current]
    for reranker in dict.fromkeys((OFF, current.reranker, *rerankers)):
        tried += [replace(current, dense_weight=weight, reranker=reranker) for weight in _WEIGHTS]
    tried += [replace(current, candidates=count) for count in _CANDIDATES]
    return list(dict.fromkeys(tried))

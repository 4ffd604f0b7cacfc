"""Ways of searching: how a collection is cut, and how its passages are found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import ValidationError

from keepstone.platform.database.tables import CollectionRow
from keepstone.platform.settings import ChunkingSettings, SearchSettings
from keepstone.retrieval.chunking import CHUNKERS, chunking_of
from keepstone.retrieval.options import with_own
from keepstone.retrieval.reranking import OFF

_WEIGHTS = (0.0, 0.3, 0.5, 0.7, 1.0)
_CANDIDATES = (50, 200)
_LEAST_TOKENS = 32
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


def ways(current: Way, rerankers: Iterable[str], slow: Iterable[str] = ()) -> list[Way]:
    """Return the ways that are worth trying with passages as they are cut, the current one first.

    Weights are tried under every reranker, since one that judges by meaning leaves more to words; numbers of candidates
    only beside the current way, since they matter less.

    Args:
        current: the way in use.
        rerankers: those that there are, besides none at all.
        slow: others, each of which is tried with the current weight alone.
    """
    tried = [current]
    for reranker in dict.fromkeys((OFF, current.reranker, *rerankers)):
        tried += [replace(current, dense_weight=weight, reranker=reranker) for weight in _WEIGHTS]
    tried += [replace(current, candidates=count) for count in _CANDIDATES]
    tried += [replace(current, reranker=reranker) for reranker in slow]
    return list(dict.fromkeys(tried))


def cuts(current: Way, chunking: ChunkingSettings, *, longest: int | None) -> list[Way]:
    """Return the current way with passages that are cut otherwise: by other chunkers, and to other sizes.

    Args:
        current: the way in use.
        chunking: all that is set for its passages.
        longest: how many tokens the encoder reads; None: passages of other sizes are not to be compared.
    """
    tried = [replace(current, chunker=chunker) for chunker in CHUNKERS]
    if longest is not None:
        size = min(current.max_tokens, longest)
        sizes = (size // 2, min(2 * size, longest))
        tried += [replace(current, max_tokens=other) for other in sizes if _LEAST_TOKENS <= other != size]
    return [each for each in dict.fromkeys(tried) if each != current and _goes(chunking, each)]


def _goes(chunking: ChunkingSettings, way: Way) -> bool:
    try:
        ChunkingSettings.model_validate(chunking.model_dump() | way.chunking)
    except ValidationError:
        return False
    return True

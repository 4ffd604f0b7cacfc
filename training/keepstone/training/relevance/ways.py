"""Ways of searching: what a sweep may change without another index."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from keepstone.platform.settings import SearchSettings
from keepstone.retrieval.reranking import OFF

_WEIGHTS = (0.0, 0.3, 0.5, 0.7, 1.0)
_CANDIDATES = (50, 200)


@dataclass(frozen=True, slots=True)
class Way:
    """One way of searching, in the words of the settings under `search`."""

    dense_weight: float
    candidates: int
    reranker: str

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings that search in this way."""
        return {f"search.{name}": value for name, value in asdict(self).items()}


def way_of(settings: SearchSettings) -> Way:
    """Return the way that the settings name."""
    return Way(settings.dense_weight, settings.candidates, settings.reranker)


def ways(current: Way, rerankers: Iterable[str]) -> list[Way]:
    """Return the ways that are worth trying, the current one first.

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

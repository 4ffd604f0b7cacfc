"""What a reranker is: a model that tells how well each of a few passages answers a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Reranker(Protocol):
    """Scores passages. All methods may be called from several threads at once."""

    @property
    def version(self) -> str:
        """Name and version; scores of different versions must not be compared."""

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return how well each passage answers the question, shape (n,); higher is better.

        Texts that are longer than the model can read count as their beginnings.
        """

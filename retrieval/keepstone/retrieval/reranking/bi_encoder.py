"""Rerankers that need no model besides the encoder: cosines, and late interaction between token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from keepstone.platform.errors import InvalidInput
from keepstone.retrieval.encoder import Encoder

# Passages whose token vectors are in memory at once.
_AT_ONCE = 64


@runtime_checkable
class TokenEncoder(Protocol):
    """An encoder that also gives the vectors of single tokens, each in its context."""

    @property
    def version(self) -> str:
        """Name and version of the model."""

    def encode_query_tokens(self, text: str) -> NDArray[np.float32]:
        """Return the vectors of a question's tokens without special ones: shape (t, d), unit length."""

    def encode_document_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the vectors of each passage's tokens: shape (t, d) each, unit length."""


class CosineReranker:
    """The cosine between the vectors of question and passage, which is what the vector index ranks by.

    Args:
        encoder: makes the vectors.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.version = f"cosine/1 {encoder.version}"

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return cosines, -1 to 1."""
        if not texts:
            return np.empty(0)
        cosines = self._encoder.encode_documents(texts) @ self._encoder.encode_query(query)
        return cosines.astype(np.float64)


class LateReranker:
    """Late interaction: for each token of the question the passage's token that is most like it, on average.

    This is MaxSim of ColBERT (Khattab and Zaharia, 2020) over the token vectors of an encoder that was not trained for
    it: what the pooling of a passage into one vector drowns is seen again, at no cost of training.

    Args:
        encoder: one that gives the vectors of tokens.

    Raises:
        InvalidInput: it does not.
    """

    def __init__(self, encoder: Encoder) -> None:
        if not isinstance(encoder, TokenEncoder):
            fix = "Choose another reranker in keepstone.toml: search.reranker"
            raise InvalidInput(f"The encoder {encoder.version} gives no vectors of tokens", fix=fix)
        self._encoder: TokenEncoder = encoder
        self.version = f"late/1 {encoder.version}"

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return mean maximal cosines, -1 to 1; 0 where there are no tokens."""
        asked = self._encoder.encode_query_tokens(query)
        scores = np.zeros(len(texts))
        for start in range(0, len(texts), _AT_ONCE):
            some = self._encoder.encode_document_tokens(texts[start : start + _AT_ONCE])
            scores[start : start + len(some)] = [max_sim(asked, each) for each in some]
        return scores


def max_sim(query: NDArray[np.float32], passage: NDArray[np.float32]) -> float:
    """Return the mean over the rows of `query` of their greatest inner products with rows of `passage`.

    Args:
        query: vectors of the question's tokens, shape (q, d).
        passage: vectors of the passage's tokens, shape (p, d).
    """
    if not len(query) or not len(passage):
        return 0.0
    return float((query @ passage.T).max(axis=1).mean())

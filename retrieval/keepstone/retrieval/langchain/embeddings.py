"""Encoders as LangChain's embeddings, and the other way round.

KeepstoneEmbeddings(encoder).embed_query("How long is the warranty?")
open_retrieval("notes", encoder=EmbeddingsEncoder(OpenAIEmbeddings(model="..."), version="openai-..."))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from keepstone.retrieval.encoder import Encoder, HashEncoder

_WORDS = HashEncoder(1)


class KeepstoneEmbeddings(Embeddings):
    """An encoder, as LangChain wants it.

    Args:
        encoder: such as that of a folder, `retrieval.encoders.default`.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of passages, of unit length."""
        vectors: list[list[float]] = self.encoder.encode_documents(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question, of unit length."""
        vector: list[float] = self.encoder.encode_query(text).tolist()
        return vector


class EmbeddingsEncoder:
    """LangChain's embeddings, as an encoder. Words count as tokens, since what the model counts is not known.

    Args:
        embeddings: make the vectors.
        version: names the model; vectors under the same name are taken to be of the same model.
        max_tokens: how many words of a text the model reads.
    """

    def __init__(self, embeddings: Embeddings, *, version: str, max_tokens: int = 512) -> None:
        self.embeddings = embeddings
        self.version, self.max_tokens = version, max_tokens
        self.languages: frozenset[str] = frozenset()
        self.dimension = len(embeddings.embed_query("dimension"))

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of passages."""
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        return _unit(np.array(self.embeddings.embed_documents(list(texts)), dtype=np.float32))

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a question."""
        return _unit(np.array(self.embeddings.embed_query(text), dtype=np.float32))

    def offsets(self, text: str) -> NDArray[np.int64]:
        """Return where each word starts."""
        return _WORDS.offsets(text)

    def count_tokens(self, text: str) -> int:
        """Return the number of words."""
        return _WORDS.count_tokens(text)


def as_encoder(embeddings: Embeddings) -> Encoder:
    """Return the encoder behind our own embeddings, or others as one, named for their class and their model."""
    if isinstance(embeddings, KeepstoneEmbeddings):
        return embeddings.encoder
    name = getattr(embeddings, "model", None) or getattr(embeddings, "model_name", None) or ""
    return EmbeddingsEncoder(embeddings, version=f"langchain-{type(embeddings).__name__}-{name}".rstrip("-"))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors at unit length; one of length 0 stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return scaled

"""An encoder behind a URL: any server with OpenAI's `/embeddings`, such as vLLM, TEI, Ollama, or another Keepstone.

encoder = UrlEncoder(EmbeddingsClient("http://10.0.0.7:8000/v1", model="bge-m3"), dimension=1024)
vectors = encoder.encode_documents(["a passage", "another"])
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from keepstone.platform.errors import SettingsError
from keepstone.retrieval.encoder import first_dimensions
from keepstone.retrieval.encoder_client import EmbeddingsClient
from keepstone.retrieval.encoder_tokens import MAX_CHARS_PER_TOKEN, EstimatedTokens, Tokens, encodable

# What the strictest of the usual servers take in one request.
_BATCH_TEXTS: Final = 32
_BATCH_BYTES: Final = 256 * 1024
_AT_ONCE: Final = 4
# Ingestion is patient, and tried again by its job; whoever asks a question waits.
_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)
_QUERY_PAUSES_S: Final = (0.2,)
_TROUBLE_KEPT_S: Final = 30.0


class UrlEncoder:
    """A model that another server runs. It has no vectors of single tokens.

    Args:
        client: asks the server.
        dimension: length of the vectors; where the model's are longer, their first numbers are taken, which models
            trained for it (Matryoshka, Kusupati et al., 2022) bear well.
        max_tokens: how many tokens of a text are sent, prompt not included.
        query_prompt: put before questions.
        document_prompt: put before passages.
        tokens: counts as the model does; by default an upper estimate.
        pauses_s: waits between the tries of a batch of passages.
    """

    languages: frozenset[str] = frozenset()

    def __init__(
        self,
        client: EmbeddingsClient,
        *,
        dimension: int,
        max_tokens: int = 512,
        query_prompt: str = "",
        document_prompt: str = "",
        tokens: Tokens | None = None,
        pauses_s: Sequence[float] = _PAUSES_S,
    ) -> None:
        self.dimension, self.max_tokens = dimension, max_tokens
        self._client = client
        self._query_prompt, self._document_prompt = query_prompt, document_prompt
        self._tokens = tokens or EstimatedTokens()
        self._pauses_s = pauses_s
        self._lock = threading.Lock()
        self._trouble: str | None = None
        self._asked_at = -math.inf
        way = [client.url, dimension, max_tokens, query_prompt, document_prompt, self._tokens.name]
        self.version = f"{client.model}@{hashlib.sha256(json.dumps(way).encode()).hexdigest()[:16]}"

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of passages: shape (n, d), unit length, in the order of `texts`.

        Raises:
            Unavailable: the server does not answer, or not with vectors, also after some tries.
            InvalidInput: it refuses the texts.
            SettingsError: its vectors are shorter than `dimension`.
        """
        batches = list(_batches([self._sent(self._document_prompt, text) for text in texts]))
        parts = [np.empty((0, self.dimension), dtype=np.float32)]
        with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="embeddings") as threads:
            try:
                parts += threads.map(lambda batch: self._vectors(batch, self._pauses_s), batches)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        return np.concatenate(parts)

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a question: shape (d,), unit length.

        Raises:
            Unavailable, InvalidInput, SettingsError: as for passages.
        """
        vector: NDArray[np.float32] = self._vectors([self._sent(self._query_prompt, text)], _QUERY_PAUSES_S)[0]
        return vector

    def offsets(self, text: str) -> NDArray[np.int64]:
        """Return the character at which each token of the whole text starts, ascending."""
        return self._tokens.offsets(text)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of the whole text."""
        return self._tokens.count(text)

    def trouble(self) -> str | None:
        """Return what is wrong with the server, asked within the last half minute; None when it answers."""
        with self._lock:
            if time.monotonic() - self._asked_at > _TROUBLE_KEPT_S:
                self._trouble, self._asked_at = self._client.trouble(), time.monotonic()
            return self._trouble

    def _sent(self, prompt: str, text: str) -> str:
        """Return what is sent for a text: servers refuse what is too long, and what is empty."""
        text = text[: self.max_tokens * MAX_CHARS_PER_TOKEN]
        if len(text) > self.max_tokens:
            starts = self.offsets(text)
            text = text[: starts[self.max_tokens]] if len(starts) > self.max_tokens else text
        return encodable(prompt + text) or " "

    def _vectors(self, texts: Sequence[str], pauses_s: Sequence[float]) -> NDArray[np.float32]:
        vectors = self._client.vectors(texts, pauses_s=pauses_s)
        length = vectors.shape[1]
        if length < self.dimension:
            raise SettingsError(
                f"The vectors of {self._client.model} have {length} numbers, fewer than encoder.dimension",
                fix=f"Set encoder.dimension to {length} in keepstone.toml",
            )
        return first_dimensions(vectors, self.dimension)


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Gather texts into requests that servers take; a text that is too big by itself goes alone."""
    batch: list[str] = []
    room = _BATCH_BYTES
    for text in texts:
        size = len(text.encode())
        if batch and (len(batch) >= _BATCH_TEXTS or size > room):
            yield batch
            batch, room = [], _BATCH_BYTES
        batch.append(text)
        room -= size
    if batch:
        yield batch

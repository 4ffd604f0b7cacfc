"""What an encoder is: a model that turns texts into unit vectors whose inner product measures likeness of meaning.

`SentenceEncoder` (in `sentence_encoder`) runs a real model, `UrlEncoder` (in `url_encoder`) asks a server that does;
`HashEncoder` needs none, for tests and demonstrations.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

# A run of letters and digits, or one character of a script that does not part its words.
_WORD = re.compile("[\u0e00-\u0eff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\\W_]+")


class Encoder(Protocol):
    """A text encoder. All methods may be called from several threads at once."""

    @property
    def version(self) -> str:
        """Name and version of the model; vectors of different versions must not be compared."""

    @property
    def dimension(self) -> int:
        """Length of the vectors, d."""

    @property
    def languages(self) -> frozenset[str]:
        """ISO 639-1 codes of the languages that it knows; empty when it knows all that matter."""

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text are read, without special tokens and prompts; the rest is ignored."""

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of passages: shape (n, d), unit length, in the order of `texts`."""

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a question: shape (d,), unit length."""

    def offsets(self, text: str) -> NDArray[np.int64]:
        """Return the character (code point) at which each token of the whole text starts, ascending."""

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of the whole text, without special tokens."""


class Window(NamedTuple):
    """A stretch of a document that is read at once."""

    head: str
    """Read before it: the context of its first passage."""
    text: str
    spans: tuple[tuple[int, int], ...]
    """Of the passages that it is read for, in `text`."""


@runtime_checkable
class WindowEncoder(Protocol):
    """An encoder that also gives the vectors of passages as parts of a longer text."""

    def encode_windows(self, windows: Sequence[Window]) -> list[NDArray[np.float32]]:
        """Return the vectors of the passages of each window: shape (passages, d), unit length.

        A passage that is all of its window has the vector that it has alone.

        Raises:
            InvalidInput: the model does not average its tokens' vectors.
        """


def knows_language(encoder: Encoder, language: str | None) -> bool:
    """Return whether the encoder can be trusted with a text; one whose language could not be told is."""
    return not encoder.languages or language is None or language in encoder.languages


def first_dimensions(vectors: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Return the first numbers of vectors at unit length; one that is nothing becomes a vector along the first axis.

    Args:
        vectors: shape (n, d).
        dimension: how many numbers are taken, at most d.
    """
    taken = vectors[:, :dimension].astype(np.float64)
    lengths = np.linalg.norm(taken, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (taken / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    unit[lengths[:, 0] == 0, 0] = 1
    return unit


class HashEncoder:
    """A deterministic bag of words: each word adds a pseudo-random vector, so texts that share words lie close.

    Args:
        dimension: length of the vectors.
        languages: what it pretends to know; all by default.
    """

    def __init__(self, dimension: int = 64, *, languages: frozenset[str] = frozenset()) -> None:
        self.dimension = dimension
        self.languages = languages
        self.version = f"hash-{dimension}"
        self.max_tokens = 512

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of passages."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self.encode_query(text)
        return vectors

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a question, which is that of the same passage."""
        return _unit(self._total(text))

    def encode_windows(self, windows: Sequence[Window]) -> list[NDArray[np.float32]]:
        """Return the vectors of passages: their own words, and a little of those around them."""
        found = []
        for head, text, spans in windows:
            around = self._total(head + text) / np.float32(8)
            own = (self._total((head if start == 0 else "") + text[start:end]) for start, end in spans)
            found.append(np.stack([_unit(each + around) for each in own]))
        return found

    def encode_query_tokens(self, text: str) -> NDArray[np.float32]:
        """Return the vectors of a question's words: shape (t, d), unit length."""
        words = _WORD.findall(text.casefold())[: self.max_tokens]
        vectors = np.array([self._vector(word) for word in words], dtype=np.float32).reshape(-1, self.dimension)
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def encode_document_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the vectors of each passage's words."""
        return [self.encode_query_tokens(text) for text in texts]

    def offsets(self, text: str) -> NDArray[np.int64]:
        """Return where each word starts."""
        return np.array([found.start() for found in _WORD.finditer(text)], dtype=np.int64)

    def count_tokens(self, text: str) -> int:
        """Return the number of words."""
        return len(_WORD.findall(text))

    def _total(self, text: str) -> NDArray[np.float32]:
        words = _WORD.findall(text.casefold())[: self.max_tokens]
        total: NDArray[np.float32] = sum(
            (self._vector(word) for word in words), start=self._vector("") * np.float32(0.01)
        )
        return total

    def _vector(self, word: str) -> NDArray[np.float32]:
        return _pseudo_random(word, self.dimension)


@lru_cache(maxsize=20_000)
def _pseudo_random(word: str, dimension: int) -> NDArray[np.float32]:
    """Return numbers between -1 and 1 that depend on the word alone: shape (dimension,), read-only."""
    digest = hashlib.shake_128(word.encode("utf-8", "replace")).digest(dimension)
    vector: NDArray[np.float32] = (np.frombuffer(digest, dtype=np.uint8).astype(np.float32) - 127.5) / np.float32(127.5)
    vector.setflags(write=False)
    return vector


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit

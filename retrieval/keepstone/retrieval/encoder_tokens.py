"""How long texts are in tokens, and where the tokens start: by a model's own tokenizer, or estimated.

tokens = OwnTokens(tokenizer)     # or EstimatedTokens()
tokens.count("How long is the warranty?")
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

MAX_CHARS_PER_TOKEN: Final = 24
"""No token is longer than this on average, so what lies behind it need not be tokenized."""

# Characters of a long text tokenized at once: what the tokenizer keeps of each token is some hundred bytes.
_SLICE_CHARS: Final = 100_000
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_PIECE: Final = re.compile(r"[A-Za-z0-9]{1,4}|\S")


class Tokens(Protocol):
    """A way to count tokens; safe to share between threads."""

    @property
    def name(self) -> str:
        """Whose they are; other tokens have another name."""

    def offsets(self, text: str) -> NDArray[np.int64]:
        """Return the character (code point) at which each token of the whole text starts, ascending."""

    def count(self, text: str) -> int:
        """Return the number of tokens of the whole text, without special tokens."""


class OwnTokens:
    """The tokens of a model's tokenizer.

    Args:
        tokenizer: one that neither truncates nor pads.
        name: name and version of the model.
    """

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        self._tokenizer, self.name = tokenizer, name

    def offsets(self, text: str) -> NDArray[np.int64]:
        """Return where each token starts."""
        parts = [
            np.fromiter((start for start, _ in encoding.offsets), dtype=np.int64, count=len(encoding)) + base
            for base, encoding in self._slices(text)
        ]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def count(self, text: str) -> int:
        """Return the number of tokens."""
        return sum(len(encoding) for _, encoding in self._slices(text))

    def _slices(self, text: str) -> Iterator[tuple[int, Encoding]]:
        """Tokenize a text of any length in bounded memory, cut at blanks."""
        start = 0
        while start < len(text):
            end = start + _SLICE_CHARS
            if end < len(text):
                blank = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
                end = blank if blank > start else end
            yield start, self._tokenizer.encode(encodable(text[start:end]), add_special_tokens=False)
            start = end


class EstimatedTokens:
    """An upper estimate for a tokenizer that is not known: four letters or digits, or any other single character.

    English takes about 1.3 tokens a word with the usual vocabularies and 1.6 by this estimate; scripts beyond ASCII
    seldom take more than one a character.
    """

    name = "estimated/1"

    def offsets(self, text: str) -> NDArray[np.int64]:
        """Return where each token starts."""
        return np.array([found.start() for found in _PIECE.finditer(text)], dtype=np.int64)

    def count(self, text: str) -> int:
        """Return the number of tokens."""
        return len(_PIECE.findall(text))


def encodable(text: str) -> str:
    """Replace lone surrogates, one character for one, since neither Rust nor UTF-8 has a place for them."""
    return text if text.isascii() else _SURROGATE.sub("?", text)

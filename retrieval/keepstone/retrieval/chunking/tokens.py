"""How long is a stretch of text, in tokens: counted once for a whole document, then read off."""

from __future__ import annotations

import re
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.int64]

# A tokenizer may make one unknown token of a megabyte without spaces; here a token is at most this many characters,
# which bounds chunks in characters too.
_LONGEST_TOKEN = 64
_WHITE_SPACE = np.array([9, 10, 13, 32, 0xA0, 0x3000], dtype=np.uint32)


class TokenOffsets(Protocol):
    """A tokenizer, as far as chunking needs it."""

    def offsets(self, text: str) -> Offsets:
        """Return the position of the first character of every token, ascending, without special tokens.

        Args:
            text: a whole document; must not be cut at the model's longest input.

        Returns:
            Array (tokens,) of code point positions in `text`.
        """
        ...


class WordOffsets:
    """A tokenizer without a model: words, single Chinese and Japanese characters, and single punctuation marks."""

    _TOKEN = re.compile(
        "[\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\\W\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[^\\w\\s]"
    )

    def offsets(self, text: str) -> Offsets:
        """See `TokenOffsets.offsets`."""
        return np.fromiter((match.start() for match in self._TOKEN.finditer(text)), dtype=np.int64)


class TokenCounter:
    """Counts the tokens before any position of one text.

    Args:
        text: the document's text.
        tokenizer: applied once to all of it.
    """

    def __init__(self, text: str, tokenizer: TokenOffsets) -> None:
        self._length = len(text)
        self._offsets = _bounded(_off_white_space(text, tokenizer.offsets(text)), len(text))

    def before(self, positions: list[int]) -> list[int]:
        """Return how many tokens begin before each position."""
        counts: list[int] = np.searchsorted(self._offsets, np.asarray(positions, dtype=np.int64), side="left").tolist()
        return counts

    def start_of(self, token: int) -> int:
        """Return where a token begins; the length of the text for the one after the last."""
        return int(self._offsets[token]) if token < len(self._offsets) else self._length

    def next_start(self, position: int) -> int:
        """Return where the first token after a position begins; the length of the text when there is none."""
        return self.start_of(int(np.searchsorted(self._offsets, position, side="right")))


def _off_white_space(text: str, offsets: Offsets) -> Offsets:
    """Move tokens that begin with the space before their word onto the word, where chunks begin too."""
    if not len(offsets):
        return offsets
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    return offsets + np.isin(codes[offsets], _WHITE_SPACE)


def _bounded(offsets: Offsets, length: int) -> Offsets:
    """Add offsets inside tokens longer than `_LONGEST_TOKEN` characters."""
    edges = np.concatenate((np.zeros(1, dtype=np.int64), offsets, np.array([length], dtype=np.int64)))
    long = np.flatnonzero(np.diff(edges) > _LONGEST_TOKEN)
    if not len(long):
        return offsets
    extra = [np.arange(edges[i] + _LONGEST_TOKEN, edges[i + 1], _LONGEST_TOKEN, dtype=np.int64) for i in long]
    return np.sort(np.concatenate((offsets, *extra)))

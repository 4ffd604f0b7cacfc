"""Cuts a section that is too long for one chunk: into pieces as fine as needed, then packs these into full chunks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from keepstone.retrieval.chunking.breaks import SENTENCE, WORD, blocks, sentences, soft_cut
from keepstone.retrieval.chunking.tokens import TokenCounter

_LEAST_FILL = 0.4


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A stretch of text in pieces that are never cut."""

    starts: list[int]
    """Where each piece begins, and the end of the last."""
    costs: list[float]
    """Of cutting before each piece."""
    before: list[int]
    """Tokens of the document before each of `starts`."""


class Packer:
    """Packs sections of one text.

    Args:
        text: of the document.
        counter: of its tokens.
        max_tokens: longest chunk.
        overlap: tokens that a chunk repeats of the one before, at most.
    """

    def __init__(self, text: str, counter: TokenCounter, *, max_tokens: int, overlap: int) -> None:
        self._text = text
        self._counter = counter
        self._max_tokens = max_tokens
        self._overlap = overlap

    def spans(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the spans of the chunks of `text[start:end]`, in order."""
        pieces = self._pieces(start, end)
        last = len(pieces.costs)
        first = 0
        start_token = pieces.before[0]
        while True:
            cut = self._choose_cut(pieces, first, start_token)
            yield start, pieces.starts[cut]
            if cut == last:
                return
            first = cut
            start, start_token = self._overlapping_start(pieces, cut, previous_start=start)

    def _pieces(self, start: int, end: int) -> _Pieces:
        """Cut as finely as may be needed: tables and code that fit stay whole, paragraphs come in sentences."""
        found: dict[int, float] = {}
        heading_tokens = 0  # of the headings right above, which the block must leave room for
        for block in blocks(self._text, start, end):
            found[block.start] = block.cost
            first, last = self._counter.before([block.start, block.end])
            if block.kind == "paragraph":
                found.update(dict.fromkeys(sentences(self._text, block.start, block.end), SENTENCE))
            if block.kind == "paragraph" or heading_tokens + last - first > self._max_tokens:
                found.update(block.lines)
            heading_tokens = heading_tokens + last - first if block.kind == "heading" else 0
        starts = [start, *sorted(found)[1:], end]  # the white space before the first block goes with it
        costs = [found.get(at, 0.0) for at in starts[:-1]]
        pieces = _Pieces(starts, costs, self._counter.before(starts))
        if any(after - this > self._max_tokens for this, after in pairwise(pieces.before)):
            return self._with_long_ones_cut(pieces)
        return pieces

    def _with_long_ones_cut(self, pieces: _Pieces) -> _Pieces:
        """Cut pieces longer than a chunk (a sentence, a row, a line) between words, or else between tokens."""
        starts: list[int] = []
        costs: list[float] = []
        for index, cost in enumerate(pieces.costs):
            at, token = pieces.starts[index], pieces.before[index]
            starts.append(at)
            costs.append(cost)
            while pieces.before[index + 1] - token > self._max_tokens:
                low = self._counter.start_of(token + max(1, self._max_tokens // 2))
                high = self._counter.start_of(token + self._max_tokens)
                # Tokens may share a character (the bytes of an emoji), and must then stay together.
                at = soft_cut(self._text, low, high) if high > at else self._counter.next_start(at)
                if at >= pieces.starts[index + 1]:
                    break
                starts.append(at)
                costs.append(WORD)
                token = self._counter.before([at])[0]
        starts.append(pieces.starts[-1])
        return _Pieces(starts, costs, self._counter.before(starts))

    def _choose_cut(self, pieces: _Pieces, first: int, start_token: int) -> int:
        """Return before which piece a chunk ends best that begins at `start_token` and holds piece `first`."""
        before, last, size = pieces.before, len(pieces.costs), self._max_tokens
        left = before[last] - start_token
        if left <= size:
            return last
        longest = max(bisect_right(before, start_token + size, lo=first + 1, hi=last + 1) - 1, first + 1)
        if left <= 2 * size:
            # Two chunks will do: cut near the middle, rather than into a full one and a crumb.
            ideal, least = start_token + left / 2, before[last] - size
        else:
            ideal, least = start_token + size, start_token + int(_LEAST_FILL * size)
        best, best_cost = longest, float("inf")
        for cut in range(longest, first, -1):
            if before[cut] < least:
                break
            cost = (pieces.costs[cut] if cut < last else 0.0) + abs(before[cut] - ideal) / size
            if cost < best_cost:
                best, best_cost = cut, cost
        return best

    def _overlapping_start(self, pieces: _Pieces, cut: int, *, previous_start: int) -> tuple[int, int]:
        """Return where the chunk begins whose first new piece is `cut`, and the tokens before that place."""
        at, token = pieces.starts[cut], pieces.before[cut]
        overlap = min(self._overlap, self._max_tokens - (pieces.before[cut + 1] - token))
        if overlap <= 0:
            return at, token
        earliest = max(self._counter.start_of(max(0, token - overlap)), previous_start + 1)
        start = next(sentences(self._text, earliest, at), None)
        if start is None:
            start = self._word_start(earliest, at)
        return start, self._counter.before([start])[0]

    def _word_start(self, start: int, end: int) -> int:
        """Return the first place from `start` on that is not within a word of letters."""
        text = self._text
        while start < end and text[start].isascii() and text[start].isalnum() and text[start - 1].isalnum():
            start += 1
        return start

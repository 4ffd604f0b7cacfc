"""What a chunk's text leaves out and its readers need: the title and the headings that it stands under."""

from __future__ import annotations

import re
from collections.abc import Sequence

from keepstone.retrieval.types import Heading

_CONTEXT_WORDS = 30
_TITLE_WORDS = 15
_TITLE_CHARS = 120
_WORD = re.compile("[\u3041-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\\W\u3041-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def context_of(title: str, path: tuple[str, ...]) -> str:
    """Return "Title > Heading > Subheading" in about 40 tokens.

    Where the first heading and the title say the same, the longer one stays; of a path that is too long the outer
    headings go first.
    """
    parts = [_shortened(part) for part in (title, *path) if part]
    if len(parts) > 1 and (_same(parts[0], parts[1]) or _same(parts[1], parts[0])):
        parts[:2] = [max(parts[:2], key=len)]
    while len(parts) > 2 and sum(len(_WORD.findall(part)) for part in parts) > _CONTEXT_WORDS:
        del parts[1]
    return " > ".join(parts)


class HeadingPaths:
    """Tells the headings of one stretch of a document after the other, from its beginning to its end.

    Args:
        headings: of the document.
    """

    def __init__(self, headings: Sequence[Heading]) -> None:
        self._ahead = sorted(headings, key=lambda heading: -heading.start)
        self._open: list[Heading] = []

    def at(self, start: int, end: int) -> tuple[str, ...]:
        """Return the titles that all of `start` to `end` stands under, outermost first; `start` never goes back."""
        while self._ahead and self._ahead[-1].start <= start:
            self._open.append(self._ahead.pop())
        self._open = [heading for heading in self._open if heading.end > start]
        return tuple(heading.title for heading in self._open if heading.end >= end)


def _same(inner: str, outer: str) -> bool:
    """Tell whether a title says what another one says: "Duck" and "Duck - Wikipedia"."""
    return outer.casefold().startswith(inner.casefold())


def _shortened(part: str) -> str:
    part = " ".join(part.split())
    if len(part) <= _TITLE_WORDS:
        return part
    ends = [match.end() for match in _WORD.finditer(part[: 4 * _TITLE_CHARS])]
    return part[: min(ends[_TITLE_WORDS - 1], _TITLE_CHARS)] if len(ends) > _TITLE_WORDS else part[:_TITLE_CHARS]

"""Where the text of a PDF stands on its pages, line by line, so that what is cited can be shown in the original.

The text that is written is not quite that of the lines: words that were broken are whole, lists and tables have marks.
So the letters and digits of each line are looked for in those of its page's text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from keepstone.retrieval.loaders.base import clean
from keepstone.retrieval.loaders.pdf_lines import Line
from keepstone.retrieval.types import Box, Document

# How far ahead of the line before it a line is looked for, in characters; tables are read in another order.
_AHEAD = 4000


def with_boxes(document: Document, pages: Sequence[Sequence[Line]]) -> Document:
    """Return a document with the places of its lines.

    Args:
        document: as it was written from the lines.
        pages: the lines of each page.
    """
    found = [
        box
        for page in document.pages
        for box in _boxes(document.text[page.start : page.end], page.start, pages[page.number - 1])
    ]
    return replace(document, boxes=tuple(sorted(found, key=lambda box: (box.start, box.end))))


def _boxes(text: str, offset: int, lines: Sequence[Line]) -> Iterator[Box]:
    places = [index for index, character in enumerate(text) if character.isalnum()]
    letters = "".join([text[index] for index in places])
    at = 0
    for line in lines:
        wanted = "".join(filter(str.isalnum, clean(line.text)))
        if line.place is None or not wanted:
            continue
        found = letters.find(wanted, at, at + len(wanted) + _AHEAD)
        if found < 0:
            found = letters.find(wanted, max(at - _AHEAD, 0), at + len(wanted))
        if found >= 0:
            yield Box(offset + places[found], offset + places[found + len(wanted) - 1] + 1, *line.place)
            at = found + len(wanted)

"""Cutting text into sentences, table rows and list items: the units that are quoted, cited and checked."""

from __future__ import annotations

import re

_BREAK = re.compile(
    r"""
    (?P<cjk>[。！？；]+[”’」』）]*)            # Chinese and Japanese sentences end without a space
    | (?P<latin>(?<![.!?])[.!?]+["'”’)\]]*)(?=\s|$)    # others end before white space
    """,
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|approx|no|nos|fig|dr|mr|mrs|ms|st|vs|cf|incl|max|min|tel)|\b[A-Z])$", re.IGNORECASE
)
_LONGEST_ABBREVIATION = 8
_NUMBERED_ITEM = re.compile(r"\s*\d{1,3}")
_TABLE_RULE = re.compile(r"^[\s|:+-]+\Z")
# A line that begins a new block, and one that is a block by itself.
_BLOCK = re.compile(r"\s*(?:[-*+•]\s|\d{1,3}[.)]\s|#{1,6}\s|>|\||```)")
_ALONE = re.compile(r"\s*(?:#{1,6}\s|\||```)")
_MARKUP = re.compile(r"^\s*(?:[-*+]\s+|\d{1,3}[.)]\s+|#{1,6}\s+|>\s+)+|[*`]{1,3}|__")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the spans of the sentences of Markdown text, in order and without surrounding white space.

    Lines of one paragraph belong together; table rows, list items and headings stand alone, and the rules of tables
    are left out.
    """
    spans: list[tuple[int, int]] = []
    begin = position = 0
    for line in text.splitlines(keepends=True):
        if not line.strip() or _BLOCK.match(line) or _TABLE_RULE.match(line):
            spans += _block_spans(text, begin, position)
            begin = position
        position += len(line)
        if not line.strip() or _ALONE.match(line):
            spans += _block_spans(text, begin, position)
            begin = position
    return spans + _block_spans(text, begin, position)


def plain(sentence: str) -> str:
    """Return a sentence as a person would read it aloud: no list, heading or emphasis marks, cells joined by colons."""
    line = sentence.strip()
    if line.startswith("|"):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        line = ": ".join(filter(None, [cells[0], "; ".join(cell for cell in cells[1:] if cell)]))
    return " ".join(_MARKUP.sub("", line).split())


def _block_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    if _TABLE_RULE.match(text[start:end]):
        return []
    if text[start:end].lstrip().startswith("|"):
        return _stripped(text, start, end)
    spans: list[tuple[int, int]] = []
    begin = start
    for match in _BREAK.finditer(text, start, end):
        if match["latin"] and _goes_on(text, begin, match.start()):
            continue
        spans += _stripped(text, begin, match.end())
        begin = match.end()
    return spans + _stripped(text, begin, end)


def _goes_on(text: str, begin: int, stop: int) -> bool:
    """Tell whether the full stop at `stop` ends an abbreviation or a number, and not what begins at `begin`."""
    near = max(begin, stop - _LONGEST_ABBREVIATION)
    return bool(_ABBREVIATION.search(text, near, stop) or _NUMBERED_ITEM.fullmatch(text, begin, stop))


def _stripped(text: str, start: int, end: int) -> list[tuple[int, int]]:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    right = len(piece.rstrip())
    return [(start + left, start + right)] if right > left else []

"""Where a text may be cut, and how good each place is: between blocks, list items, rows, sentences, words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# The cost of cutting at a break of each kind, in units of a full chunk's length away from the ideal place.
BLOCK, ITEM, SUBITEM, SENTENCE, LINE, WORD, GLUE = 0.0, 0.08, 0.2, 0.25, 0.35, 0.6, 1.5

_LINE_OF_TEXT = re.compile(r"[^\n]+")
_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
_ITEM = re.compile(
    r"(\s*)(?:[-*+•·‣◦]|\d{1,4}[.)、]|[（(][\d一二三四五六七八九十a-zA-Z]{1,4}[)）]|[一二三四五六七八九十]{1,3}、)\s*\S"
)
_HEADING = re.compile(r" {0,3}#{1,6}\s")
_PARAGRAPH_END = re.compile(r"[.!?。！？：:；;…][\"'”’」』)）*_]*\s*$")
_SENTENCE_END = re.compile(r"(?:[.!?؟۔।॥]{1,6}[\"'”’)\]]{0,4}\s+|[。！？…]{1,6}[”’」』）)]{0,4}\s*)(?=\S)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|Dr|Mr|Mrs|Ms|Prof|St|No|Nos|Fig|Figs|Eq|Sec|Ch|Vol|pp|p|al|Inc|Ltd|Co|Corp"
    r"|Jr|Sr|U\.S|z\.B|d\.h|Nr|bzw|usw)|\b[A-Z])\.$"
)
_SOFT = re.compile(r"[\s，、；,;]")


class Block(NamedTuple):
    """A stretch of lines that belong together."""

    start: int
    end: int
    kind: str
    """`paragraph`, `table`, `code` or `heading`."""
    cost: float
    """Of cutting before it."""
    lines: list[tuple[int, float]]
    """Where its further lines begin, and the cost of cutting there."""


def blocks(text: str, start: int, end: int) -> Iterator[Block]:
    """Yield the blocks of `text[start:end]` in order; between them is white space only."""
    block: Block | None = None
    fence = ""
    previous_end = start
    for match in _LINE_OF_TEXT.finditer(text, start, end):
        line, at = match[0], match.start()
        if fence:
            assert block is not None
            block.lines.append((at, LINE))
            closes = _FENCE.match(line)
            if closes and closes[1].startswith(fence) and not line.strip().strip(fence[0]):
                yield block._replace(end=match.end())
                block, fence = None, ""
            previous_end = match.end()
            continue
        if not line.strip():
            continue
        opens = _FENCE.match(line)
        kind = "code" if opens else _kind(line)
        after_blank = text.count("\n", previous_end, at) > 1
        if block is None or opens or after_blank or kind != block.kind or kind == "heading":
            cost = GLUE if block is not None and block.kind == "heading" else _block_cost(text, block, line, at)
            if block is not None:
                yield block._replace(end=previous_end)
            block = Block(at, at, kind, cost, [])
            fence = opens[1] if opens else ""
        else:
            block.lines.append((at, _line_cost(text, block, line, previous_end)))
        previous_end = match.end()
    if block is not None:
        yield block._replace(end=previous_end)


def sentences(text: str, start: int, end: int) -> Iterator[int]:
    """Yield where the second and further sentences of `text[start:end]` begin."""
    for match in _SENTENCE_END.finditer(text, start, end):
        at = match.end()
        if at >= end:
            return
        mark = match[0][0]
        if mark == "." and (
            text[at].islower() or _ABBREVIATION.search(text, max(start, match.start() - 8), match.start() + 1)
        ):
            continue
        yield at


def soft_cut(text: str, low: int, high: int) -> int:
    """Return the last place in (low, high] after a space or comma, or `high` when there is none."""
    for at in range(high, low, -1):
        if _SOFT.match(text[at - 1]):
            return at
    return high


def _kind(line: str) -> str:
    if line.lstrip().startswith("|"):
        return "table"
    return "heading" if _HEADING.match(line) else "paragraph"


def _block_cost(text: str, before: Block | None, line: str, at: int) -> float:
    """Return the cost of cutting before a block that begins at `at` with `line`."""
    item = _ITEM.match(line)
    introduced = before is not None and text[before.start : at].rstrip()[-1:] in ":："
    if introduced and (item or _kind(line) != "paragraph"):
        return SENTENCE  # a list, table or code belongs to the sentence that announces it
    return _item_cost(item) if item else BLOCK


def _line_cost(text: str, block: Block, line: str, previous_end: int) -> float:
    """Return the cost of cutting before a further line of a block."""
    if block.kind == "table":
        # The rule under the header, and the first row below it, stay with the header.
        return GLUE if not line.strip(" \t:|-") or len(block.lines) == 1 else SUBITEM
    item = _ITEM.match(line)
    last_line = text[max(block.start, previous_end - 8) : previous_end]
    if item:
        return SENTENCE if last_line.rstrip()[-1:] in ":：" else _item_cost(item)
    return SUBITEM if _PARAGRAPH_END.search(last_line) else LINE


def _item_cost(item: re.Match[str]) -> float:
    return SUBITEM if item[1] else ITEM

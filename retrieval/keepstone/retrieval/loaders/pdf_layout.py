"""Lines of PDF pages to paragraphs, headings and lists.

PDF knows neither; what stands here is told from gaps, indents, type sizes and bookmarks, by rules that hold for most
books, manuals and papers. Where they fail the text is still complete, only less well divided.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from keepstone.retrieval.loaders.pdf_lines import Line
from keepstone.retrieval.loaders.pdf_tables import PageTables, Table
from keepstone.retrieval.loaders.writer import MarkdownWriter

_DIGITS = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(
    r"^[\s\-–—|]*(?:page|seite|p\.|第)?\s*(?:\d{1,4}|[ivxl]{1,6})\s*(?:页|頁)?\s*(?:(?:of|/|von|共)\s*\d{1,4}\s*(?:页|頁)?)?[\s\-–—|]*$",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^[•●○◦▪■□‣⁃·\uf0b7\uf0a7\uf06e\uf0d8➢✓–—*-]\s*(?=\S)")
_NUMBERED = re.compile(r"^(\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)])\s+(?=\S)")
_SENTENCE_END = re.compile(r"[.!?:;。！？：；…][\"'”’)\]」』）]*$")
_CJK = re.compile("[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")
_SECTION_NUMBER = re.compile(r"^(?:\d{1,2}(?:\.\d{1,3})*\.?|[A-Z]\.|第[一二三四五六七八九十\d]+[章节節条])\s*\S")
_EDGE = 0.11  # of the page's height, above and below, where running heads and page numbers stand
_LONGEST_HEADING = 160
_MOST_LEVELS = 4


class Bookmark(NamedTuple):
    """An entry of the PDF's outline."""

    level: int
    title: str
    page: int
    """Counted from 0."""


@dataclass(slots=True)
class _Block:
    """Lines that belong to one paragraph, or a table."""

    lines: list[Line] = field(default_factory=list)
    text: str = ""
    table: Table | None = None

    @property
    def size(self) -> float:
        return self.lines[0].size

    @property
    def bold(self) -> bool:
        return all(line.bold for line in self.lines)


def drop_running_lines(pages: Sequence[list[Line]]) -> list[list[Line]]:
    """Return the pages without page numbers, and without heads and feet that repeat on most pages."""
    counts: Counter[tuple[bool, str]] = Counter()
    for lines in pages:
        counts.update({(line.relative > 0.5, _key(line)) for line in lines if _at_edge(line)})
    written = sum(1 for lines in pages if lines)
    body = body_size(pages)

    def repeats(line: Line) -> bool:
        if not _at_edge(line) or line.size > 1.1 * body:
            return False
        key = _key(line)
        # What repeats but for its number is a page number after two pages, anything else after three.
        fewest = 2 if key != line.text else 3
        often = counts[line.relative > 0.5, key] >= max(fewest, 0.4 * written)
        return often or (written > 1 and _PAGE_NUMBER.match(line.text) is not None)

    kept = [_without(lines, [line for line in lines if repeats(line)]) for lines in pages]
    return kept if any(kept) else list(pages)


def _without(lines: list[Line], running: list[Line]) -> list[Line]:
    """Drop running lines that stand apart from the text; close to it they are text that happens to repeat."""
    dropped = {id(line) for line in running}
    text = [line for line in lines if id(line) not in dropped]
    near = {
        id(line)
        for line in running
        if any(abs(line.bottom - other.bottom) < 1.6 * max(line.size, other.size) for other in text)
    }
    return [line for line in lines if id(line) not in dropped or id(line) in near]


def body_size(pages: Sequence[Sequence[Line]]) -> float:
    """Return the type size in which most characters are set."""
    weights: Counter[float] = Counter()
    for line in (line for lines in pages for line in lines):
        weights[line.size] += len(line.text)
    return weights.most_common(1)[0][0] if weights else 0.0


def write_pages(
    pages: Sequence[list[Line]], bookmarks: Sequence[Bookmark], tables: dict[int, PageTables], writer: MarkdownWriter
) -> None:
    """Write the pages with their headings, and say where each begins.

    Args:
        pages: lines of each page.
        bookmarks: the outline, empty where there is none.
        tables: by page, counted from 0.
        writer: takes the Markdown.
    """
    blocks = [_blocks(lines, tables.get(number)) for number, lines in enumerate(pages)]
    levels = _Levels(blocks, bookmarks)
    above: list[int] = []  # levels of the headings that the next one may stand under
    open_sentence = ""
    for number, page in enumerate(blocks):
        writer.page(number + 1)
        for index, block in enumerate(page):
            level = levels.of(block, number, page[index + 1] if index + 1 < len(page) else None)
            if index == 0 and open_sentence and level is None and _goes_on(open_sentence, block):
                writer.continue_paragraph(block.text, _joint(open_sentence, block.text))
            elif level is not None:
                above = [*(outer for outer in above if outer < level), level]
                writer.heading(len(above), block.text)
            else:
                _write_block(block, writer)
            plain = level is None and block.table is None
            open_sentence = block.text if plain and not _SENTENCE_END.search(block.text) else ""


def _write_block(block: _Block, writer: MarkdownWriter) -> None:
    bullet, numbered = _BULLET.match(block.text), _NUMBERED.match(block.text)
    if block.table is not None:
        writer.table(block.table.rows)
    elif bullet:
        writer.item(block.text[bullet.end() :])
    elif numbered:
        writer.item(block.text[numbered.end() :], marker=numbered[1])
    else:
        writer.paragraph(block.text)


class _Levels:
    """Which blocks are headings: those that the bookmarks name, and those set larger or bolder than the text."""

    def __init__(self, pages: Sequence[Sequence[_Block]], bookmarks: Sequence[Bookmark]) -> None:
        lines = [line for page in pages for block in page for line in block.lines]
        self._body = body_size([lines])
        bold = sum(len(line.text) for line in lines if line.bold)
        self._bold_is_rare = bold < 0.25 * sum(len(line.text) for line in lines)
        self._by_size = self._levels_of_sizes(pages)
        self._bold_level = max(self._by_size.values(), default=0) + 1
        self._marked: dict[tuple[int, str], int] = {
            (mark.page, _squeezed(mark.title)): mark.level for mark in bookmarks
        }

    def _levels_of_sizes(self, pages: Sequence[Sequence[_Block]]) -> dict[float, int]:
        """Rank the sizes in which headings are set; sizes that only decorate a title page are no headings."""
        uses: Counter[float] = Counter()
        later: set[float] = set()
        for number, page in enumerate(pages):
            for block in page:
                if block.size >= 1.12 * self._body and self._looks_like_heading(block):
                    uses[block.size] += 1
                    if number:
                        later.add(block.size)
        largest = max(uses, default=0.0)
        structured = any(count > 2 for count in uses.values())
        levels: dict[float, int] = {}
        level, previous = 0, 0.0
        for size in sorted(uses, reverse=True):
            if structured and size < largest and size not in later and uses[size] <= 2:
                continue
            if not previous or size < 0.95 * previous:
                level, previous = level + 1, size
            levels[size] = min(level, _MOST_LEVELS)
        return levels

    def of(self, block: _Block, page: int, following: _Block | None) -> int | None:
        """Return the level of a heading, None for text."""
        if block.table is not None or not self._looks_like_heading(block):
            return None
        if self._marked:
            marked = self._marked.get((page, _squeezed(block.text)))
            if marked is None:
                marked = self._marked.get((page, _squeezed(re.sub(r"^[\d.\s]+", "", block.text))))
            if marked is not None:
                return min(marked, 6)
        if block.size in self._by_size:
            return self._by_size[block.size] if not self._marked else max(2, self._by_size[block.size])
        stands_out = block.bold and self._bold_is_rare and block.size >= 0.95 * self._body
        if (
            stands_out
            and not _SENTENCE_END.search(block.text)
            and following is not None
            and not (following.bold and following.table is None and not _SECTION_NUMBER.match(following.text))
        ):
            return self._bold_level
        return None

    @staticmethod
    def _looks_like_heading(block: _Block) -> bool:
        text = block.text
        return (
            block.table is None
            and len(text) <= _LONGEST_HEADING
            and len(block.lines) <= 3
            and sum(character.isalpha() for character in text) >= 2
            and not text.endswith((",", "，", "、"))
            and not _BULLET.match(text)
        )


def _blocks(lines: list[Line], tables: PageTables | None) -> list[_Block]:
    """Group the lines of a page into paragraphs; lines inside a table are replaced by it."""
    blocks: list[_Block] = []
    leading = _usual_leading(lines)
    right = sorted(line.right for line in lines)[int(0.9 * (len(lines) - 1))] if lines else 0.0
    written: set[int] = set()
    for line in lines:
        table = tables.at(line) if tables is not None else None
        if table is not None:
            if id(table) not in written:
                written.add(id(table))
                blocks.append(_Block([line], "", table))
        elif blocks and blocks[-1].table is None and not _begins_block(blocks[-1], line, leading, right):
            blocks[-1].text += _joint(blocks[-1].text, line.text) + line.text
            blocks[-1].lines.append(line)
        else:
            blocks.append(_Block([line], line.text))
    return blocks


def _begins_block(block: _Block, line: Line, leading: float, right: float) -> bool:
    """Tell whether a line begins a paragraph of its own after `block`.

    Args:
        block: the paragraph before.
        line: the line that follows it.
        leading: usual distance between lines of the page.
        right: where full lines of the page end.
    """
    before = block.lines[-1]
    if _changes_type(block, line) or _BULLET.match(line.text):
        return True
    step = before.last_bottom - line.bottom
    ended = _SENTENCE_END.search(block.text) is not None
    if step < -0.5 * line.size:  # up again: the next column
        return ended or not _continues(line.text)
    short = before.right < right - 0.15 * max(right - before.left, 1)
    indented = line.left > before.left + 0.7 * line.size
    return (
        step > 1.35 * max(leading, 0.9 * line.size)
        or (_NUMBERED.match(line.text) is not None and (ended or short))
        or (ended and (short or indented))
        # A line that stops early without punctuation is an entry of a list, an address, a caption.
        or (before.right < before.left + 0.55 * (right - before.left) and not _continues(line.text))
    )


def _changes_type(block: _Block, line: Line) -> bool:
    """Tell whether a line is set larger, smaller, or bolder than a short block before it."""
    before = block.lines[-1]
    small, large = sorted((before.size, line.size))
    bolder = before.bold != line.bold and (block.bold or line.bold) and len(block.text) < _LONGEST_HEADING
    return bolder or large > 1.12 * small


def _usual_leading(lines: list[Line]) -> float:
    """Return the commonest distance between lines of one size that follow each other."""
    steps = sorted(
        step
        for before, line in pairwise(lines)
        if abs(before.size - line.size) < 0.5
        and 0.5 * line.size < (step := before.last_bottom - line.bottom) < 3 * line.size
    )
    return steps[len(steps) // 3] if steps else 0.0


def _goes_on(open_sentence: str, block: _Block) -> bool:
    """Tell whether a page begins in the middle of the sentence that the page before left open."""
    if block.table is not None or _BULLET.match(block.text) or _NUMBERED.match(block.text):
        return False
    return len(open_sentence) > 40 and (_continues(block.text) or bool(_CJK.match(open_sentence[-1])))


def _continues(text: str) -> bool:
    return text[:1].islower()


def _joint(before: str, after: str) -> str:
    """Return what stands between two lines: nothing between Chinese characters, else a space."""
    return "" if _CJK.match(before[-1:]) and _CJK.match(after[:1]) else " "


def _at_edge(line: Line) -> bool:
    return line.relative < _EDGE or line.relative > 1 - _EDGE


def _key(line: Line) -> str:
    return _DIGITS.sub("#", line.text)


def _squeezed(text: str) -> str:
    return "".join(text.split()).casefold()

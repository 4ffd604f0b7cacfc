"""Writes the Markdown of a Document block by block, and keeps the spans of its headings and pages.

Loaders of structured formats say what they see (`heading`, `paragraph`, `item`, `table`, `code`, `page`); this is
the one place that knows how it is spelled, and the one that stops a file that grows beyond the cap while it is read.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from keepstone.platform.errors import LimitExceeded
from keepstone.retrieval.language import detect_language
from keepstone.retrieval.loaders.base import LoadLimits, clean, stem
from keepstone.retrieval.types import Document, Heading, Page

_SPACES = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"[ \t]*\n(?:[ \t]*\n)+")
_TRAILING = re.compile(r"[ \t]+\n")
# What would make a heading or open a block of code, had it not been plain text.
_MARKUP = re.compile(r"^(?=#{1,6}\s|`{3}|~{3})", re.MULTILINE)
_BACKTICKS = re.compile(r"`{3,}")
_WIDEST_TABLE = 1000


class MarkdownWriter:
    """Collects blocks into one text of at most `max_chars` characters."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._parts: list[str] = []
        self._length = 0
        self._after_item = False
        self._headings: list[tuple[int, str, int]] = []
        self._page_starts: list[tuple[int, int]] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written yet."""
        return not self._parts

    @property
    def length(self) -> int:
        """Characters written so far."""
        return self._length

    def heading(self, level: int, title: str) -> None:
        """Write a heading of level 1 (outermost) to 6; an empty one is left out."""
        title = one_line(title)
        if not title:
            return
        level = min(max(level, 1), 6)
        start = self._block(f"{'#' * level} {title}")
        self._headings.append((level, title, start))

    def section(self, level: int, title: str) -> None:
        """Say that what is written next has a heading that is no line of its own, such as a function's name."""
        title = one_line(title)
        if title:
            self._headings.append((min(max(level, 1), 6), title, self._length + (2 if self._parts else 0)))

    def paragraph(self, text: str) -> None:
        """Write a paragraph. Line breaks in it stay, blank lines do not."""
        text = _MARKUP.sub(r"\\", tidy(text))
        if text:
            self._block(text)

    def continue_paragraph(self, text: str, separator: str) -> None:
        """Append to the block written last, after `separator`: for a sentence that runs over a page's end."""
        text = tidy(text)
        if text:
            self._append(separator + text)

    def item(self, text: str, *, depth: int = 0, marker: str = "-") -> None:
        """Write a list item, indented by `depth`; its further lines are aligned under the first."""
        text = tidy(text)
        if not text:
            return
        indent = "  " * min(depth, 12)
        lead = f"{indent}{marker} "
        block = lead + text.replace("\n", "\n" + " " * len(lead))
        if self._after_item:
            self._append("\n" + block)
        else:
            self._block(block)
        self._after_item = True

    def end_list(self) -> None:
        """Say that the list is over, so that an item that follows begins another one."""
        self._after_item = False

    def item_paragraph(self, text: str, *, depth: int = 0) -> None:
        """Write a further paragraph of the list item written last."""
        text = tidy(text)
        if not text:
            return
        indent = "  " * (min(depth, 12) + 1)
        block = indent + text.replace("\n", "\n" + indent)
        if self._after_item:
            self._append("\n" + block)
        else:
            self._block(block)
            self._after_item = True

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        """Write a table whose first row is the header. Empty rows and columns are left out."""
        grid = [[one_line(cell).replace("|", "\\|") for cell in row[:_WIDEST_TABLE]] for row in rows]
        grid = [row for row in grid if any(row)]
        width = max(map(len, grid), default=0)
        grid = [row + [""] * (width - len(row)) for row in grid]
        used = [column for column in range(width) if any(row[column] for row in grid)]
        if not used:
            return
        if len(used) == 1:
            self.paragraph("\n".join(row[used[0]] for row in grid))
            return
        lines = ["| " + " | ".join(row[column] for column in used) + " |" for row in grid]
        lines.insert(1, "|" + " --- |" * len(used))
        self._block("\n".join(lines))

    def code(self, text: str, language: str = "") -> None:
        """Write a fenced block of code, spaces and line breaks as they are."""
        text = clean(text).strip("\n")
        if text.strip():
            longest = max((len(run) for run in _BACKTICKS.findall(text)), default=2)
            fence = "`" * (longest + 1)
            self._block(f"{fence}{language}\n{text}\n{fence}")

    def markdown(self, text: str, headings: Iterable[tuple[int, str, int]]) -> None:
        """Write Markdown as it is.

        Args:
            text: cleaned, without line breaks at its ends.
            headings: the (level, title, start) of those in it.
        """
        if text.strip():
            start = self._block(text)
            self._headings.extend((level, title, start + at) for level, title, at in headings)

    def page(self, number: int) -> None:
        """Say that what is written from now on stands on page `number`."""
        self._page_starts.append((number, self._length))

    def document(self, *, name: str, media_type: str, parser: str, title: str = "") -> Document:
        """Return what was written.

        Args:
            name: the file's name, the title of last resort.
            media_type: of the file.
            parser: provenance, see `parser_id`.
            title: from the file's metadata, where it has one; else the first heading.
        """
        text = "".join(self._parts)
        first_heading = self._headings[0][1] if self._headings else ""
        return Document(
            text=text,
            media_type=media_type,
            parser=parser,
            title=one_line(title)[:500] or first_heading[:500] or stem(name),
            language=detect_language(text),
            pages=self._pages(len(text)),
            headings=close_headings(self._headings, len(text)),
        )

    def _block(self, text: str) -> int:
        """Append a block after a blank line; return where it starts."""
        if self._parts:
            self._append("\n\n")
        self._after_item = False
        start = self._length
        self._append(text)
        return start

    def _append(self, text: str) -> None:
        self._length += len(text)
        if self._length > self._max_chars:
            raise too_much_text(self._max_chars)
        self._parts.append(text)

    def _pages(self, length: int) -> tuple[Page, ...]:
        ends = [start for _, start in self._page_starts[1:]] + [length]
        return tuple(Page(number, start, end) for (number, start), end in zip(self._page_starts, ends, strict=False))


def too_much_text(max_chars: int) -> LimitExceeded:
    """Return the error for a file with more text than is allowed."""
    return LimitExceeded(
        f"The file holds more than {max_chars:,} characters of text",
        fix="Split it into smaller files, or raise `ingestion.max_text_chars` in keepstone.toml",
    )


def refuse_if_surely_too_long(data: bytes, limits: LoadLimits) -> None:
    """Raise `LimitExceeded` for plain text that is too long in any encoding, before it is decoded."""
    if len(data) > 4 * limits.max_text_chars + 4:
        raise too_much_text(limits.max_text_chars)


def close_headings(opened: Sequence[tuple[int, str, int]], length: int) -> tuple[Heading, ...]:
    """Return sections for headings in order of their start: each ends where one of its level or above begins.

    Args:
        opened: (level, title, start) of each heading.
        length: of the whole text, where the last sections end.
    """
    ends = [length] * len(opened)
    stack: list[int] = []
    for index, (level, _, start) in enumerate(opened):
        while stack and opened[stack[-1]][0] >= level:
            ends[stack.pop()] = start
        stack.append(index)
    return tuple(Heading(level, title, start, end) for (level, title, start), end in zip(opened, ends, strict=True))


def page_at(pages: Sequence[Page], position: int) -> int | None:
    """Return the number of the page on which a character stands, None in a document without pages."""
    index = bisect_left(pages, position + 1, key=lambda page: page.start) - 1
    return pages[index].number if index >= 0 else (pages[0].number if pages else None)


def one_line(text: str) -> str:
    """Return cleaned text with every run of white space as one space."""
    return _SPACES.sub(" ", clean(text)).strip()


def tidy(text: str) -> str:
    """Return cleaned text without blank lines, trailing spaces, or space at either end."""
    text = clean(text)
    return _TRAILING.sub("\n", _BLANK_LINES.sub("\n", text)).strip() if "\n" in text else text.strip()

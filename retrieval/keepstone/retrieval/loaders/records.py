"""Rows as text that can be cut anywhere: every passage keeps the names of its columns.

    write_table(writer, rows)                                   # of a sheet or CSV file
    write_record(writer, [("name", "Ada"), ("born", "1815")])   # - name: Ada; born: 1815

A table that fits into one passage stays a table. In a longer one only the first passage would have the header, so
each row becomes a line that repeats the names; a row too long for a line becomes a section of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice, takewhile, zip_longest

from keepstone.retrieval.loaders.writer import MarkdownWriter, one_line, tidy

_SHORT_TABLE = 500
"""Characters of a table that surely fit into a passage."""
_LONGEST_LINE = 400
_LONGEST_NAME = 120
_SAMPLE = 20
_YEAR = re.compile(r"(?:1[89]|20|21)\d\d")

Row = Sequence[str]


def write_record(writer: MarkdownWriter, fields: Iterable[tuple[str, str]], *, level: int = 2, number: int = 1) -> None:
    """Write one record; fields without a value are left out.

    Args:
        writer: takes it.
        fields: names, which may be empty, and values.
        level: of the heading that a long record gets.
        number: of the record, from 1; its heading if it begins with no short field.
    """
    named = [(_shown_name(name), tidy(value)) for name, value in fields]
    spelled = [f"{name}: {value}" if name else value for name, value in named if value]
    line = "; ".join(spelled)
    if len(line) <= _LONGEST_LINE and "\n" not in line:
        writer.item(line)
        return
    short = len(spelled[0]) <= _LONGEST_NAME and "\n" not in spelled[0]
    writer.heading(level, spelled[0] if short else f"Record {number}")
    lines: list[str] = []
    for text in spelled[short:]:
        if len(text) <= _LONGEST_LINE and "\n" not in text:
            lines.append(text)
            continue
        writer.paragraph("\n".join(lines))
        writer.paragraph(text)
        lines = []
    writer.paragraph("\n".join(lines))


def write_table(writer: MarkdownWriter, rows: Iterable[Row], *, above: Row = (), level: int = 2) -> Row:
    """Write a table of any length in bounded memory, and return its header.

    Lines of one cell above it become paragraphs; a header may have two rows.

    Args:
        writer: takes it.
        rows: of the table, none of them blank.
        above: header of the table above, which holds on if this one has none and the same columns.
        level: of the headings of long records.
    """
    waiting = iter(rows)
    sample = [[one_line(cell) for cell in row] for row in islice(waiting, _SAMPLE)]
    left = min((_first(row) for row in sample), default=0)
    captions = list(takewhile(lambda row: _is_caption(row, left), sample))
    if len(captions) < len(sample) or len(captions) <= 2:  # else it is a table of one column
        writer.paragraph("\n".join(next(filter(None, row)) for row in captions))
        del sample[: len(captions)]
    header, header_rows = _find_header(sample)
    if sample and (len(sample) == 1 or not header) and _goes_on(sample[0], above):
        header, header_rows = above, 0
    if header_rows == len(sample):  # the rows that it names stand below a gap
        _write_rows(writer, (), iter(sample), level)
    else:
        _write_rows(writer, header, chain(sample[header_rows:], waiting), level)
    writer.end_list()
    return header


def _find_header(sample: Sequence[Row]) -> tuple[Row, int]:
    """Return the names of the columns, none where they have none, and the number of rows that they take."""
    if len(sample) > 1 and (_filled(sample[0]) < _filled(sample[1]) or _repeats(sample[0])):
        groups, names = sample[:2]
        joined = [" ".join(dict.fromkeys(filter(None, both))) for both in zip_longest(groups, names, fillvalue="")]
        if not any(map(_is_value, chain(groups, names))) and is_header(joined, sample[2:]):
            return joined, 2
    return (sample[0], 1) if sample and is_header(sample[0], sample[1:]) else ((), 0)


def is_header(row: Row, following: Sequence[Row]) -> bool:
    """Tell whether a row names the columns of those that follow: all names, all different, none of them a value."""
    names = [name for name in row if name]
    if (len(names) < 2 and any(_filled(other) > 1 for other in following)) or _repeats(row):
        return False
    if any(map(_is_value, names)) or all(map(_YEAR.fullmatch, names)):
        return False
    return not any(name and name == below for other in following for name, below in zip(row, other, strict=False))


def _write_rows(writer: MarkdownWriter, header: Row, rows: Iterator[Row], level: int) -> None:
    short: list[Row] = []
    size = sum(map(len, header))
    for row in rows:
        short.append(row)
        size += sum(map(len, row)) + 3 * len(row)
        if size > _SHORT_TABLE:
            break
    else:
        writer.table([header or [""] * max(map(len, short), default=0), *short])
        return
    for number, row in enumerate(chain(short, rows), start=1):
        names = chain(header, [""] * (len(row) - len(header)))
        write_record(writer, zip(names, row, strict=False), level=level, number=number)


@lru_cache(maxsize=4096)
def _shown_name(name: str) -> str:
    return one_line(name)[:_LONGEST_NAME].rstrip(" :")


def _is_caption(row: Row, left: int) -> bool:
    """Tell whether a row says one thing, perhaps in several merged cells from the column `left` on."""
    return len(set(filter(None, row))) == 1 and (_filled(row) == 1 or _first(row) == left)


def _first(row: Row) -> int:
    return next((column for column, cell in enumerate(row) if cell), len(row))


def _repeats(row: Row) -> bool:
    return len(set(filter(None, row))) < _filled(row)


def _goes_on(row: Row, above: Row) -> bool:
    """Tell whether a row fits under the header of the table above it."""
    named = sum(bool(name and cell) for name, cell in zip(above, row, strict=False))
    return named == _filled(row) and 2 * named >= _filled(above)


def _filled(row: Row) -> int:
    return sum(map(bool, row))


def _is_value(text: str) -> bool:
    """Tell a number, amount or date in digits from a name, which a year may be."""
    return any(map(str.isdigit, text)) and not any(map(str.isalpha, text)) and not _YEAR.fullmatch(text)

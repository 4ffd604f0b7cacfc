"""How a sheet of a workbook is written, whatever file it came in: its tables, each with its columns' names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import Final, NamedTuple

from keepstone.retrieval.loaders.records import Row, write_table
from keepstone.retrieval.loaders.writer import MarkdownWriter

WIDEST_MERGE: Final = 100
_HEADER_ROWS = 3


class Range(NamedTuple):
    """Cells that are merged: columns, counted from 0, and the last row."""

    first: int
    last: int
    last_row: int


class SheetRow(NamedTuple):
    """A row of a sheet."""

    at: int
    """Its number, counted from 1."""
    texts: Mapping[int, str]
    """What its cells show, by their columns; empty ones are left out."""
    merged: Sequence[Range] = ()
    """The merged ranges that begin in it."""


def write_sheet(writer: MarkdownWriter, name: str, rows: Iterable[SheetRow]) -> None:
    """Write the tables of a sheet under its name: rows without a blank one between them."""
    filled = _filled(rows)
    first = next(filled, None)
    if first is None:
        return
    writer.heading(1, name)
    header: Row = ()
    for _, table in groupby(chain([first], filled), key=lambda row: row[0]):
        header = write_table(writer, (row for _, row in table), above=header)


def _filled(rows: Iterable[SheetRow]) -> Iterator[tuple[int, Row]]:
    """Yield the rows with text in them, each with the count of the gaps above it.

    What is merged over rows is repeated in each, so that every row can be understood alone; what is merged over
    columns only in the first rows of a table, where it is a header.
    """
    hanging: list[tuple[Range, str]] = []
    gaps = reached = count = 0
    for at, own, merged in rows:
        hanging = [(area, text) for area, text in hanging if area.last_row >= at]
        hanging += [(area, own[area.first]) for area in merged if area.first in own]
        if own:
            if at > reached + 1:
                gaps, count = gaps + 1, 0
            count += 1
            wide = count <= _HEADER_ROWS
            repeated = {
                column: text
                for area, text in hanging
                for column in range(area.first, (area.last if wide else area.first) + 1)
            }
            yield gaps, _dense({**repeated, **own})
        if own or hanging:
            reached = at


def _dense(texts: Mapping[int, str]) -> Row:
    row = [""] * (max(texts) + 1)
    for column, text in texts.items():
        row[column] = text
    return row

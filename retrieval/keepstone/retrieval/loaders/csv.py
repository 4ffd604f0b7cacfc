"""Comma-separated values and their like (.csv, .tsv): delimiter and encoding are told from the file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from keepstone.retrieval.loaders.base import LoadLimits, clean, empty, parser_id, stem
from keepstone.retrieval.loaders.detect import CSV, TSV
from keepstone.retrieval.loaders.encoding import decode
from keepstone.retrieval.loaders.records import write_table
from keepstone.retrieval.loaders.writer import MarkdownWriter, refuse_if_surely_too_long, too_much_text
from keepstone.retrieval.types import Document

_DELIMITERS = ",;\t|"
_SAMPLE_CHARS, _SAMPLE_ROWS = 64 * 1024, 100


class CsvLoader:
    """Reads tables of delimited text."""

    name = "csv"
    version = "1"
    media_types = frozenset({CSV, TSV})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        refuse_if_surely_too_long(data, limits)
        text = clean(decode(data, name))
        if len(text) > limits.max_text_chars:
            raise too_much_text(limits.max_text_chars)
        if not text.strip():
            raise empty(name)
        csv.field_size_limit(limits.max_text_chars)
        first_line = text[: text.find("\n") + 1].strip()
        if first_line.startswith("sep=") and len(first_line) == 5:  # how Excel is told the delimiter
            delimiter, text = first_line[4], text[text.find("\n") + 1 :]
        else:
            delimiter = find_delimiter(text)
        writer = MarkdownWriter(limits.max_text_chars)
        write_table(writer, _rows(text, delimiter))
        media_type = TSV if delimiter == "\t" else CSV
        return writer.document(name=name, media_type=media_type, parser=parser_id(self), title=stem(name))


def find_delimiter(text: str) -> str:
    """Return the delimiter under which the most rows have the same number of fields, two or more; else a comma."""
    best, best_score = ",", (0.0, 0)
    for delimiter in _DELIMITERS:
        widths = [len(row) for row in islice(_rows(text[:_SAMPLE_CHARS], delimiter), _SAMPLE_ROWS)]
        width, rows = Counter(widths).most_common(1)[0] if widths else (0, 0)
        score = (rows / max(len(widths), 1), width)
        if width > 1 and score > best_score:
            best, best_score = delimiter, score
    return best


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows that are not blank."""
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True):
        if any(cell.strip() for cell in row):
            yield row

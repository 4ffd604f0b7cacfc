"""Jupyter notebooks (.ipynb): text as it is, code with its language, the beginning of what it printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, clean, parser_id, shown
from keepstone.retrieval.loaders.detect import NOTEBOOK
from keepstone.retrieval.loaders.encoding import decode
from keepstone.retrieval.loaders.json import parse
from keepstone.retrieval.loaders.markdown import find_headings
from keepstone.retrieval.loaders.writer import MarkdownWriter
from keepstone.retrieval.types import Document

_LONGEST_OUTPUT = 2000
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_WORD = re.compile(r"\w{1,30}")
_ATTACHMENT = re.compile(r"!\[[^\]]*\]\((?:attachment|data):[^)]*\)")


class NotebookLoader:
    """Reads Jupyter notebooks of format 3 and later."""

    name = "ipynb"
    version = "1"
    media_types = frozenset({NOTEBOOK})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        notebook = _object(parse(decode(data, name), name))
        metadata = _object(notebook.get("metadata"))
        language = _language(metadata)
        writer = MarkdownWriter(limits.max_text_chars)
        for cell in _cells(notebook):
            _write_cell(writer, cell, language)
        if writer.is_empty:
            raise UnreadableDocument(f"{shown(name)} is a notebook without text", fix="Add text to it, or leave it out")
        title = _text(metadata.get("title"))
        return writer.document(name=name, media_type=NOTEBOOK, parser=parser_id(self), title=title)


def _language(metadata: dict[str, Any]) -> str:
    found = _object(metadata.get("language_info")).get("name") or _object(metadata.get("kernelspec")).get("language")
    return found if isinstance(found, str) and _WORD.fullmatch(found) else ""


def _cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the cells; until format 4 they stood in worksheets."""
    for sheet in (notebook, *_objects(notebook.get("worksheets"))):
        yield from _objects(sheet.get("cells"))


def _write_cell(writer: MarkdownWriter, cell: dict[str, Any], language: str) -> None:
    kind, source = cell.get("cell_type"), _text(cell.get("source", cell.get("input")))
    if kind == "code":
        writer.code(source, language)
        for output in _objects(cell.get("outputs")):
            _write_output(writer, output)
    elif kind == "heading":  # until format 4
        level = cell.get("level")
        writer.heading(int(level) if isinstance(level, str) and level in "123456" else 1, source)
    elif kind == "markdown":
        text = clean(_ATTACHMENT.sub("", source)).strip("\n")
        writer.markdown(text, find_headings(text))
    else:
        writer.paragraph(source)


def _write_output(writer: MarkdownWriter, output: dict[str, Any]) -> None:
    """Write the beginning of what a code cell printed, returned or died of."""
    data = _object(output.get("data"))
    if output.get("output_type") == "error" or "ename" in output:
        text = f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}"
    else:
        text = _text(output.get("text")) or _text(data.get("text/plain"))
    text = _TERMINAL_CODES.sub("", text)
    writer.code(text if len(text) <= _LONGEST_OUTPUT else text[:_LONGEST_OUTPUT] + "\n...")


def _text(value: Any) -> str:
    """Return a text that may be stored as a list of its lines."""
    if isinstance(value, list):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []

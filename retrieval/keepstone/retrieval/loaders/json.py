"""JSON and JSON Lines: objects in a list become records, everything else lines of `path.to.key: value`.

Numbers are kept as they are written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, empty, nested_too_deeply, parser_id, shown, stem
from keepstone.retrieval.loaders.detect import JSON
from keepstone.retrieval.loaders.encoding import decode
from keepstone.retrieval.loaders.records import write_record
from keepstone.retrieval.loaders.writer import MarkdownWriter, refuse_if_surely_too_long
from keepstone.retrieval.types import Document

_DEEPEST = 64
_DEEPEST_HEADING = 4
_LITERALS = {True: "true", False: "false"}


class JsonLoader:
    """Reads JSON values, one in a file or one on each line."""

    name = "json"
    version = "1"
    media_types = frozenset({JSON})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        refuse_if_surely_too_long(data, limits)
        text = decode(data, name).lstrip("\ufeff").strip("\x00 \t\r\n")
        if not text:
            raise empty(name)
        writer = MarkdownWriter(limits.max_text_chars)
        _Walk(writer, name).write(parse(text, name, lines=True), "", 1)
        return writer.document(name=name, media_type=JSON, parser=parser_id(self), title=stem(name))


def parse(text: str, name: str, *, lines: bool = False) -> Any:
    """Return the JSON value in a text, numbers in it as strings.

    Args:
        text: the file's.
        name: of the file, for messages.
        lines: whether there may be one value on each line, which are returned as a list.

    Raises:
        UnreadableDocument: it is not JSON; the message says where.
    """
    try:
        return _value(text)
    except json.JSONDecodeError as error:
        rows = [line for line in text.splitlines() if line.strip()]
        if not lines or error.msg != "Extra data" or len(rows) < 2:
            raise _invalid(name, error.lineno, error.msg) from error
    values = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                values.append(_value(line))
            except json.JSONDecodeError as error:
                raise _invalid(name, number, error.msg) from error
    return values


def _value(text: str) -> Any:
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=str, strict=False)


def _invalid(name: str, line: int, why: str) -> UnreadableDocument:
    return UnreadableDocument(
        f"{shown(name)} is not valid JSON (line {line}: {why})",
        fix="Export it again (it may be cut short), or upload it with the ending .txt to have it read as plain text",
    )


class _Walk:
    """Writes a value from the outside in."""

    def __init__(self, writer: MarkdownWriter, name: str) -> None:
        self._writer = writer
        self._name = name

    def write(self, value: Any, path: str, level: int) -> None:
        """Write a value that stands at `path`; `level` is that of a heading in it."""
        if isinstance(value, dict) and level <= _DEEPEST_HEADING:
            self._object(value, path, level)
        elif isinstance(value, list) and any(isinstance(element, dict | list) for element in value):
            for number, element in enumerate(value, start=1):
                write_record(self._writer, self._fields(element, "", 1), level=level, number=number)
            self._writer.end_list()
        else:
            self._writer.paragraph("\n".join(_line(name, text) for name, text in self._fields(value, path, 1)))

    def _object(self, value: dict[str, Any], path: str, level: int) -> None:
        """Write the plain members of an object, then those with members of their own, each under a heading."""
        nested = {key for key, member in value.items() if isinstance(member, dict | list) and not _is_plain(member)}
        plain = {key: member for key, member in value.items() if key not in nested}
        self._writer.paragraph("\n".join(_line(name, text) for name, text in self._fields(plain, path, 1)))
        for key in (key for key in value if key in nested):
            self._writer.heading(level, key)
            self.write(value[key], _joined(path, key), level + 1)

    def _fields(self, value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
        """Yield the path and the text of everything in a value that has no members."""
        if depth > _DEEPEST:
            raise nested_too_deeply(self._name)
        if isinstance(value, dict):
            for key, member in value.items():
                yield from self._fields(member, _joined(path, key), depth + 1)
        elif isinstance(value, list) and not _is_plain(value):
            for number, element in enumerate(value):
                yield from self._fields(element, f"{path}[{number}]", depth + 1)
        elif isinstance(value, list):
            yield path, ", ".join(map(_text, value))
        else:
            yield path, _text(value)


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict) and not any(isinstance(element, dict | list) for element in value)


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _line(name: str, text: str) -> str:
    return (f"{name}: {text}" if name else text) if text else ""


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else _LITERALS[value]

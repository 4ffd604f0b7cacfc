"""Source code: every line as it is, in fenced blocks, one for each function, method, or whatever else has a name.

The headings of such a Document are no lines of their own: a section is a fence, and its heading what the code says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keepstone.retrieval.loaders.base import LoadLimits, clean, empty, parser_id
from keepstone.retrieval.loaders.code_languages import Language, language_of
from keepstone.retrieval.loaders.detect import SOURCE
from keepstone.retrieval.loaders.encoding import decode
from keepstone.retrieval.loaders.writer import MarkdownWriter, one_line, refuse_if_surely_too_long
from keepstone.retrieval.types import Document

# What a line begins with that says something about the definition below it.
_ATTACHED = ("#", "//", "/*", "*", "@", "--", ";", "[", "template")
_LONGEST_LINE = 400
_LONGEST_TITLE = 120


class CodeLoader:
    """Reads source code and configuration."""

    name = "code"
    version = "1"
    media_types = frozenset({SOURCE})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        refuse_if_surely_too_long(data, limits)
        text = clean(decode(data, name))
        if not text.strip():
            raise empty(name)
        lines = text.split("\n")
        language = language_of(name, lines[0]) or Language("")
        writer = MarkdownWriter(limits.max_text_chars)
        sections = list(_outline(lines, language))
        starts = [section.start for section in sections]
        _write(writer, lines[: starts[0] if starts else None], language)
        for section, end in zip(sections, [*starts[1:], len(lines)], strict=False):
            writer.section(section.level, section.title)
            _write(writer, lines[section.start : end], language)
        title = one_line(name.replace("\\", "/").rpartition("/")[2])
        return writer.document(name=name, media_type=SOURCE, parser=parser_id(self), title=title)


@dataclass(slots=True)
class _Section:
    """A stretch of lines under a name, to the beginning of the next one."""

    level: int
    title: str
    start: int


def _write(writer: MarkdownWriter, lines: Sequence[str], language: Language) -> None:
    writer.code("\n".join(lines), language.fence)


def _outline(lines: Sequence[str], language: Language) -> Iterator[_Section]:
    """Yield the definitions at the left margin, and the members of classes and their like."""
    last = 0
    indentation: int | None = None  # of the members of the section at hand; 0 where it is not cut into members
    for number, line in enumerate(lines):
        code = line[:_LONGEST_LINE].lstrip()
        depth = len(line) - len(line.lstrip())
        pattern = language.member if depth else language.top
        if not code or pattern is None or (depth and indentation not in (None, depth)):
            continue
        match = pattern.match(code)
        if match is None or (depth and not last):
            continue
        title = one_line(match["title"])[:_LONGEST_TITLE]
        if not depth:
            holds = language.holder is not None and language.holder.match(title) is not None
            indentation = None if holds else 0
        else:
            indentation = depth
        start = _with_what_is_attached(lines, number, last)
        last = number + 1
        yield _Section(2 if depth else 1, title, start)


def _with_what_is_attached(lines: Sequence[str], number: int, least: int) -> int:
    """Return where the comments and decorators right above a definition begin."""
    while number > least and lines[number - 1].lstrip().startswith(_ATTACHED):
        number -= 1
    return number

"""Markdown: kept as it is, without front matter; headings found by CommonMark's rules for ATX and setext."""

from __future__ import annotations

import re
from collections.abc import Iterator

from keepstone.retrieval.language import detect_language
from keepstone.retrieval.loaders.base import LoadLimits, clean, empty, parser_id, stem
from keepstone.retrieval.loaders.encoding import decode
from keepstone.retrieval.loaders.writer import close_headings, refuse_if_surely_too_long, too_much_text
from keepstone.retrieval.types import Document

_FRONT_MATTER = re.compile(r"\A\s*(---|\+\+\+)[ \t]*\n(.*?\n)?(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title[ \t]*[:=][ \t]*(.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NO_PARAGRAPH = re.compile(r"\s*$|    |\t| {0,3}(?:[-*+>|]|\d{1,9}[.)](?:\s|$))")
_LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_EMPHASIS = re.compile(r"(\*\*|__|\*|`|~~)(?=\S)(.+?)(?<=\S)\1")


class MarkdownLoader:
    """Reads Markdown."""

    name = "markdown"
    version = "1"
    media_types = frozenset({"text/markdown"})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        refuse_if_surely_too_long(data, limits)
        text = clean(decode(data, name))
        title = ""
        matter = _FRONT_MATTER.match(text)
        if matter:
            found = _TITLE.search(matter[2] or "")
            title = found[1].strip("'\" ") if found else ""
            text = text[matter.end() :]
        text = _COMMENT.sub("", text).strip("\n")
        if len(text) > limits.max_text_chars:
            raise too_much_text(limits.max_text_chars)
        if not text.strip():
            raise empty(name)
        headings = list(find_headings(text))
        return Document(
            text=text,
            media_type="text/markdown",
            parser=parser_id(self),
            title=(title or (headings[0][1] if headings else "") or stem(name))[:500],
            language=detect_language(text),
            headings=close_headings(headings, len(text)),
        )


def find_headings(text: str) -> Iterator[tuple[int, str, int]]:
    """Yield (level, title, start of its first line) of every heading outside code."""
    fence = ""
    position = 0
    paragraph: list[str] = []
    paragraph_start = 0
    for line in text.split("\n"):
        start, position = position, position + len(line) + 1
        opened = _FENCE.match(line)
        if fence:
            if opened and opened[1].startswith(fence) and not opened[2].strip():
                fence = ""
            continue
        if opened and not (opened[1][0] == "`" and "`" in opened[2]):
            fence, paragraph = opened[1], []
            continue
        atx = _ATX.match(line)
        if atx:
            paragraph = []
            title = _plain(atx[2] or "")
            if title:
                yield len(atx[1]), title, start
            continue
        underline = _SETEXT.match(line) if paragraph else None
        if underline:
            yield (1 if underline[1][0] == "=" else 2), _plain(" ".join(paragraph)), paragraph_start
            paragraph = []
        elif paragraph and line.strip():
            paragraph.append(line.strip())
        elif _NO_PARAGRAPH.match(line):
            paragraph = []
        else:
            paragraph, paragraph_start = [line.strip()], start


def _plain(title: str) -> str:
    """Return a heading's text without links, emphasis and code marks."""
    title = _LINK.sub(r"\1", title)
    return _EMPHASIS.sub(r"\2", title).strip().strip("#").strip()

"""Plain text. Form feeds, which old tools put between pages, give page spans; headings follow typists' conventions."""

from __future__ import annotations

import re

from keepstone.retrieval.language import detect_language
from keepstone.retrieval.loaders.base import LoadLimits, clean, empty, parser_id, stem
from keepstone.retrieval.loaders.encoding import decode
from keepstone.retrieval.loaders.writer import close_headings, refuse_if_surely_too_long, too_much_text
from keepstone.retrieval.types import Document, Page

# 第三章 考勤 / 第十二节 ...
_CHINESE_HEADING = re.compile(
    r"^[ \t\u3000]*(第[一二三四五六七八九十百千零〇两\d]{1,8}([编編篇部卷章节節])(?:[ \t\u3000:：].{0,40})?)$",
    re.MULTILINE,
)
_CHINESE_LEVEL = {"编": 1, "編": 1, "篇": 1, "部": 1, "卷": 1, "章": 2, "节": 3, "節": 3}
# A line between blank lines that is in capitals or numbered, or is underlined.
_LONE_LINE = re.compile(r"(?:\A|(?<=\n\n)|(?<=\n \n))(\S[^\n]{2,79})\n(?:([=\-~*])\2{2,}[ \t]*\n|[ \t]*\n|\Z)")
_NUMBER = re.compile(r"(\d{1,2}(?:\.\d{1,2}){0,3})\.?[ \t]+\S")
_UNDERLINE_LEVEL = {"=": 1, "-": 2, "~": 3, "*": 3}


class TextLoader:
    """Reads plain text in any encoding."""

    name = "text"
    version = "1"
    media_types = frozenset({"text/plain"})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        refuse_if_surely_too_long(data, limits)
        pages = [clean(page) for page in decode(data, name).split("\f")]
        text = "\n".join(pages)
        if len(text) > limits.max_text_chars:
            raise too_much_text(limits.max_text_chars)
        if not text.strip():
            raise empty(name)
        return Document(
            text=text,
            media_type="text/plain",
            parser=parser_id(self),
            title=stem(name),
            language=detect_language(text),
            pages=_page_spans(pages),
            headings=close_headings(list(find_headings(text)), len(text)),
        )


def find_headings(text: str) -> list[tuple[int, str, int]]:
    """Return (level, title, start) of the lines that plain text, by its usual conventions, sets as headings."""
    found = {
        match.start(1): (_CHINESE_LEVEL[match[2]], " ".join(match[1].split()), match.start(1))
        for match in _CHINESE_HEADING.finditer(text)
    }
    for match in _LONE_LINE.finditer(text):
        line = match[1].strip()
        level = _lone_line_level(line, match[2], text[match.end() : match.end() + 200])
        if level:
            found.setdefault(match.start(1), (level, line, match.start(1)))
    return [found[start] for start in sorted(found)]


def _lone_line_level(line: str, underline: str | None, following: str) -> int:
    """Return the level of a line that stands alone, 0 for no heading."""
    letters = [character for character in line if character.isalpha()]
    if len(letters) < 3 or line[0] in "-*•|>":
        return 0
    if underline:
        return _UNDERLINE_LEVEL[underline]
    number = _NUMBER.match(line)
    if number and line[-1] not in ".;,。；，" and not _NUMBER.match(following.lstrip()):
        return 2 + number[1].count(".")
    capitals = sum(letter.isupper() for letter in letters)
    return 2 if len(letters) >= 4 and capitals >= 0.9 * len(letters) and any(map(str.islower, following)) else 0


def _page_spans(pages: list[str]) -> tuple[Page, ...]:
    if len(pages) < 2:
        return ()
    spans, start = [], 0
    for number, page in enumerate(pages, start=1):
        end = start + len(page) + (number < len(pages))
        spans.append(Page(number, start, end))
        start = end
    return tuple(spans)

"""Plain text. Form feeds, which old tools put between pages, give page spans."""

from __future__ import annotations

import re

from keepstone.retrieval.language import detect_language
from keepstone.retrieval.loaders.base import LoadLimits, clean, empty, parser_id, stem
from keepstone.retrieval.loaders.encoding import decode
from keepstone.retrieval.loaders.writer import close_headings, too_much_text
from keepstone.retrieval.types import Document, Page

# 第三章 考勤 / 第十二节 ...: the one convention of plain text that is common and cannot be mistaken.
_CHINESE_HEADING = re.compile(
    r"^[ \t\u3000]*(第[一二三四五六七八九十百千零〇两\d]{1,8}([编編篇部卷章节節])(?:[ \t\u3000:：].{0,40})?)$",
    re.MULTILINE,
)
_CHINESE_LEVEL = {"编": 1, "編": 1, "篇": 1, "部": 1, "卷": 1, "章": 2, "节": 3, "節": 3}


class TextLoader:
    """Reads plain text in any encoding."""

    name = "text"
    version = "1"
    media_types = frozenset({"text/plain"})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        pages = [clean(page) for page in decode(data, name).split("\f")]
        text = "\n".join(pages)
        if len(text) > limits.max_text_chars:
            raise too_much_text(limits.max_text_chars)
        if not text.strip():
            raise empty(name)
        headings = [
            (_CHINESE_LEVEL[match[2]], " ".join(match[1].split()), match.start())
            for match in _CHINESE_HEADING.finditer(text)
        ]
        return Document(
            text=text,
            media_type="text/plain",
            parser=parser_id(self),
            title=stem(name),
            language=detect_language(text),
            pages=_page_spans(pages),
            headings=close_headings(headings, len(text)),
        )


def _page_spans(pages: list[str]) -> tuple[Page, ...]:
    if len(pages) < 2:
        return ()
    spans, start = [], 0
    for number, page in enumerate(pages, start=1):
        end = start + len(page) + (number < len(pages))
        spans.append(Page(number, start, end))
        start = end
    return tuple(spans)

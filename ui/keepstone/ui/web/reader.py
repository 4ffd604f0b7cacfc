"""A document to read: its text as escaped HTML, with the cited passage marked, and what is known of the file.

Only a window of a long document is rendered. Spans count characters of `DocumentText.text`, so every piece of text is
cut at the borders of the marks before it is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from urllib.parse import quote

from keepstone.retrieval.documents import DocumentInfo
from keepstone.retrieval.library import DocumentText
from keepstone.ui.web.markup import Markup, action, element, icon, join, with_code

WINDOW_CHARS: Final = 8_000
_BLOCK: Final = re.compile(r"(?:[^\S\n]*+\S[^\n]*+(?:\n|$))+")
_HEADING: Final = re.compile(r"(#{1,6})[ \t]+")
_RULE_ROW: Final = re.compile(r"[\s|:-]+")
_CELL: Final = re.compile(r"(?:[^|\\\n]|\\.)+")
_STRONG: Final = re.compile(r"\*\*|__")


@dataclass(frozen=True, slots=True)
class Span:
    """Characters of a document."""

    start: int
    end: int

    def __bool__(self) -> bool:
        """Tell whether it holds any."""
        return self.start < self.end


NOTHING: Final = Span(0, 0)


@dataclass(frozen=True, slots=True)
class Highlight:
    """What is to be marked: a passage, and within it the words that support an answer."""

    passage: Span = NOTHING
    quote: Span = NOTHING


UNMARKED: Final = Highlight()


def render_document(
    document: DocumentText,
    highlight: Highlight = UNMARKED,
    *,
    window: Span | None = None,
    number: int | None = None,
    note: str = "",
) -> Markup:
    """Return a document's text around the highlight.

    Args:
        document: what to show.
        highlight: what to mark; spans beyond the text are cut.
        window: the characters to render; None: a window around the highlight.
        number: under which the passage is cited.
        note: what the reader should know first.
    """
    window = window or window_around(document.text, highlight.passage)
    window = Span(max(0, window.start), min(len(document.text), window.end))
    body = element("div", *_blocks(document, window, highlight), class_="document-text", dir="auto", tabindex="0")
    return join(
        [
            _header(document, highlight, number),
            element("p", note, class_="note callout") if note else None,
            _more("earlier", "Show earlier text", document, window, highlight) if window.start > 0 else None,
            body,
            _more("later", "Show more text", document, window, highlight) if window.end < len(document.text) else None,
        ]
    )


def render_details(info: DocumentInfo, pages: int) -> Markup:
    """Return what is known of a file."""
    rows = {
        "State": info.state.value,
        "Type": info.media_type or "unknown",
        "Language": info.language or "unknown",
        "Pages": pages or "",
        "Passages": info.chunks,
        "Size": file_size(info.size),
        "Changed": f"{info.updated_at:%Y-%m-%d %H:%M} UTC",
        "SHA-256": info.sha256 or "",
    }
    return element(
        "details",
        element("summary", "Details"),
        element("dl", *[element("div", element("dt", k), element("dd", v)) for k, v in rows.items() if v != ""]),
        class_="provenance",
    )


def render_missing(name: str, reason: str) -> Markup:
    """Return the panel for a document that is no longer there."""
    return join([_title(name, ""), element("p", with_code(reason), class_="note callout")])


def render_unready(info: DocumentInfo, reason: str) -> Markup:
    """Return the panel for a document that has no text: it waits, or it could not be read."""
    tools = element("div", _download(info), render_details(info, 0), class_="reader-tools")
    return join([_title(info.name, ""), tools, element("p", with_code(reason), class_="note callout")])


def window_around(text: str, span: Span) -> Span:
    """Return the characters to render around a span, cut at line ends."""
    room = max(0, WINDOW_CHARS - (span.end - span.start)) // 2
    start = max(0, span.start - room)
    end = min(len(text), max(span.end, span.start) + room + (room - (span.start - start)))
    if start > 0:
        start = text.rfind("\n", 0, start) + 1 or start
    if end < len(text):
        line_end = text.find("\n", end)
        end = line_end + 1 if 0 <= line_end < end + 2_000 else end
    return Span(start, end)


def content_url(document_id: str) -> str:
    """Return where a document's original bytes are served."""
    return f"/v1/documents/{quote(document_id, safe='')}/original"


def file_size(size: int) -> str:
    """Return a number of bytes as people write it."""
    value = float(size)
    for unit in ("B", "KB", "MB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GB"


def _header(document: DocumentText, highlight: Highlight, number: int | None) -> Markup:
    info = document.document
    where = []
    if highlight.passage:
        at = highlight.quote.start if highlight.quote else highlight.passage.start
        page = next((page for page in document.pages if page.start <= at < page.end), None)
        headings = [heading.title for heading in document.headings if heading.start <= at < heading.end]
        where = [f"Page {page.number}"] if page else []
        where += [" › ".join(headings)] if headings else []
    title = _title(info.name, " · ".join(where), number)
    details = render_details(info, len(document.pages))
    return join([title, element("div", _download(info), details, class_="reader-tools")])


def _download(info: DocumentInfo) -> Markup:
    return element(
        "a",
        icon("download"),
        "Original",
        href=content_url(info.id),
        download=True,
        class_="button small",
        rel="noopener",
    )


def _title(name: str, where: str, number: int | None = None) -> Markup:
    return element(
        "header",
        element("span", number, class_="source-number") if number else None,
        element("div", element("h3", name, title=name), element("p", where, class_="reader-where") if where else None),
        element(
            "button", icon("close"), type="button", class_="icon-button", data_close="reader", aria_label="Close reader"
        ),
        class_="reader-title",
    )


def _more(kind: str, label: str, document: DocumentText, window: Span, highlight: Highlight) -> Markup:
    start = max(0, window.start - WINDOW_CHARS) if kind == "earlier" else window.start
    end = min(len(document.text), window.end + WINDOW_CHARS) if kind == "later" else window.end
    return action(
        "more",
        label,
        class_="button small more",
        data_document=document.document.id,
        data_window_start=start,
        data_window_end=end,
        data_start=highlight.passage.start,
        data_end=highlight.passage.end,
        data_quote_start=highlight.quote.start,
        data_quote_end=highlight.quote.end,
    )


def _blocks(document: DocumentText, window: Span, highlight: Highlight) -> Iterator[Markup]:
    pages = [page for page in document.pages if window.start <= page.start < window.end]
    for found in _BLOCK.finditer(document.text, window.start, window.end):
        while pages and pages[0].start < found.end():
            yield element("div", f"Page {pages.pop(0).number}", class_="page-mark")
        yield _block(document.text, Span(found.start(), found.end()), highlight)


def _block(text: str, block: Span, highlight: Highlight) -> Markup:
    titles: list[Markup] = []
    while heading := _HEADING.match(text, block.start, block.end):
        line_end = text.find("\n", block.start, block.end)
        line = Span(heading.end(), block.end if line_end < 0 else line_end)
        titles.append(element("p", _inline(text, line, highlight), class_=f"doc-heading level-{len(heading.group(1))}"))
        block = Span(min(line.end + 1, block.end), block.end)
    end = block.start + len(text[block.start : block.end].rstrip())
    if end == block.start:
        return join(titles)
    if text.startswith("|", block.start):
        rest = _table(text, block, highlight)
    elif text.startswith("```", block.start):
        rest = element("pre", _marked(text, block, highlight))
    else:
        rest = element("p", _inline(text, Span(block.start, end), highlight))
    return join([*titles, rest])


def _table(text: str, block: Span, highlight: Highlight) -> Markup:
    rows = []
    for line in re.finditer(r"[^\n]+", text[block.start : block.end]):
        if "--" in line.group() and _RULE_ROW.fullmatch(line.group()):
            continue
        offset = block.start + line.start()
        cells = [
            element("td", _inline(text, Span(offset + cell.start(), offset + cell.end()), highlight))
            for cell in _CELL.finditer(line.group().rstrip())
        ]
        rows.append(element("tr", *cells))
    return element("div", element("table", element("tbody", *rows)), class_="table-scroll")


def _inline(text: str, span: Span, highlight: Highlight) -> Markup:
    """Return a span with bold set bold; the signs themselves are left out."""
    parts: list[Markup] = []
    signs = list(_STRONG.finditer(text, span.start, span.end))
    strong, position = False, span.start
    for index, sign in enumerate(signs):
        if not strong and index + 1 == len(signs):
            break  # it has no partner
        piece = _marked(text, Span(position, sign.start()), highlight)
        parts.append(element("strong", piece) if strong else piece)
        strong, position = not strong, sign.end()
    parts.append(_marked(text, Span(position, span.end), highlight))
    return join(parts)


def _marked(text: str, span: Span, highlight: Highlight) -> Markup:
    """Return a span's text, escaped, with the parts inside the highlight in <mark>."""
    borders = {span.start, span.end}
    for each in (highlight.passage, highlight.quote):
        borders |= {border for border in (each.start, each.end) if span.start < border < span.end}
    cuts = sorted(borders)
    parts: list[object] = []
    for start, end in pairwise(cuts):
        piece = text[start:end]
        if highlight.quote.start <= start < highlight.quote.end:
            parts.append(element("mark", piece, class_="quote"))
        elif highlight.passage.start <= start < highlight.passage.end and piece.strip():
            parts.append(element("mark", piece, class_="passage"))
        else:
            parts.append(piece)
    return join(parts)

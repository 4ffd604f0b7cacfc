"""The reader marks exactly the cited characters, and shows documents as text whatever they hold."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st

from keepstone.platform.database.tables import DocumentState
from keepstone.retrieval.documents import DocumentInfo
from keepstone.retrieval.library import DocumentText
from keepstone.retrieval.types import Heading, Page
from keepstone.ui.http.documents import router
from keepstone.ui.web.reader import (
    WINDOW_CHARS,
    Highlight,
    Span,
    content_url,
    file_size,
    render_document,
    render_missing,
    render_unready,
    window_around,
)


def document(text: str, name: str = "a.md", pages: tuple[Page, ...] = ()) -> DocumentText:
    info = DocumentInfo(
        id="doc_1",
        collection_id="col_1",
        name=name,
        state=DocumentState.READY,
        error=None,
        sha256="0" * 64,
        size=len(text),
        media_type="text/markdown",
        title=None,
        language="en",
        chunks=1,
        updated_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return DocumentText(info, text, pages, (Heading(1, "Top", 0, len(text)),))


class Marked(HTMLParser):
    """Collects what is marked, and all tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.marks: dict[str, str] = {}
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._in: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "mark":
            self._in = dict(attrs)["class"]

    def handle_endtag(self, tag: str) -> None:
        if tag == "mark":
            self._in = None

    def handle_data(self, data: str) -> None:
        if self._in:
            self.marks[self._in] = self.marks.get(self._in, "") + data


def test_the_passage_is_marked_and_its_quote_more_strongly() -> None:
    text = "Before.\n\nThe warranty lasts two years. Keep the receipt.\n\nAfter."
    start, end = text.index("The"), text.index("\n\nAfter")
    quote = Span(text.index("two"), text.index(" Keep"))
    html = render_document(document(text), Highlight(Span(start, end), quote), number=3)
    assert Marked(html).marks == {"passage": "The warranty lasts  Keep the receipt.", "quote": "two years."}
    assert '<span class="source-number">3</span>' in html


letters = st.text(alphabet="abc <&>\"'`年保修\n", max_size=300)


@given(text=letters, edges=st.lists(st.integers(-5, 320), min_size=4, max_size=4))
def test_every_marked_letter_lies_in_the_passage_and_none_is_missed(text: str, edges: list[int]) -> None:
    start, inner, later, end = sorted(edges)
    html = render_document(document(text), Highlight(Span(start, end), Span(inner, later)))
    marked = Marked(html).marks
    expected = "".join(text[max(0, start) : max(0, end)].split())
    found = "".join("".join(marked.values()).split())
    assert sorted(found) == sorted(expected)


@given(st.text(max_size=300))
def test_no_document_becomes_active_html(text: str) -> None:
    hostile = f"<script>alert(1)</script>\n\n| <img src=x onerror=1> | b |\n\n# <svg onload=1>\n\n{text}"
    found = Marked(render_document(document(hostile, name='"><script>x</script>.md')))
    assert found.tags <= {
        *("header", "div", "h3", "p", "button", "span", "a", "details", "summary", "dl", "dt", "dd"),
        *("table", "tbody", "tr", "td", "pre", "strong", "mark"),
    }
    assert not {name for name in found.attributes if name.startswith("on") or name in ("src", "style")}


def test_tables_headings_and_bold_are_drawn_and_still_marked() -> None:
    text = "## Rates\n\n| Item | Price |\n|---|---|\n| **Balance** | 5 |\n"
    html = render_document(document(text), Highlight(Span(0, len(text))))
    assert "<strong><mark" in html
    assert html.count("<tr>") == 2
    assert Marked(html).marks["passage"].split() == ["Rates", "Item", "Price", "Balance", "5"]


def test_page_borders_and_the_place_of_the_passage_are_told() -> None:
    text = "One.\n\nTwo.\n\nThree."
    pages = (Page(1, 0, 6), Page(2, 6, 12), Page(3, 12, 18))
    html = render_document(document(text, pages=pages), Highlight(Span(6, 10)))
    assert '<p class="reader-where">Page 2 · Top</p>' in html
    assert [f">Page {n}<" in html for n in (1, 2, 3)] == [True, True, True]


def test_of_a_long_document_only_a_window_is_drawn_with_buttons_for_the_rest() -> None:
    text = "".join(f"Line {n} of the document.\n" for n in range(20_000))
    where = text.index("Line 9000 ")
    html = render_document(document(text), Highlight(Span(where, where + 20)))
    assert len(html) < 3 * WINDOW_CHARS
    assert Marked(html).marks["passage"].startswith("Line 9000 of")
    assert html.count('data-event="more"') == 2
    assert render_document(document(text[:500])).count('data-event="more"') == 0


@given(st.integers(0, 60_000), st.integers(0, 9_000))
def test_the_window_always_holds_the_passage(start: int, length: int) -> None:
    text = ("x" * 79 + "\n") * 750
    span = Span(min(start, len(text)), min(start + length, len(text)))
    window = window_around(text, span)
    assert 0 <= window.start <= span.start
    assert span.end <= window.end <= len(text)


def test_documents_that_cannot_be_shown_say_why() -> None:
    assert "It was <code>deleted</code>" in render_missing("a.md", "It was `deleted`")
    assert "has no text" in render_unready(document("x").document, "It has no text")


@pytest.mark.parametrize("line", ["|" + "-" * 20_000 + "x", "# a\n" * 3_000, "x" + " " * 20_000 + "y", " " * 20_000])
def test_no_text_keeps_the_reader_busy_or_breaks_it(line: str) -> None:
    """The rule of a table that is none took the cube of its length, in which the app answered nobody."""
    assert Marked(render_document(document(line), window=Span(0, len(line)))).tags


def test_the_link_to_the_original_leads_to_a_path_of_the_api() -> None:
    paths = [route.path_regex for route in router.routes if isinstance(route, APIRoute)]
    assert any(path.fullmatch(content_url("doc_1")) for path in paths)


def test_the_link_to_the_original_cannot_leave_its_path() -> None:
    assert content_url("../../x?y#z") == "/v1/documents/..%2F..%2Fx%3Fy%23z/original"


def test_sizes_are_written_as_people_write_them() -> None:
    assert [file_size(n) for n in (0, 999, 1536, 200 * 1024, 3 * 2**20, 5 * 2**30)] == [
        *("0 B", "999 B", "1.5 KB", "200 KB", "3.0 MB", "5.0 GB"),
    ]

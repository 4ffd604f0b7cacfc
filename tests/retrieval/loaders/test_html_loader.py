"""HTML: content without its page's furniture, and its structure as Markdown."""

from __future__ import annotations

import pytest

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders import load
from tests.retrieval.loaders.samples import HTML


def _text(html: str) -> str:
    return load(html.encode(), "a.html").text


def test_main_content_as_markdown() -> None:
    document = load(HTML.encode(), "a.html")
    assert document.text == (
        "# Pump P-40\n\nClean the filter daily.\n\n## Parts\n\n"
        "| Part | Count |\n| --- | --- |\n| Screw | 4 \\| 5 |\n| Screw | 6 |\n\n"
        "- First\n  - Inner\n- Second\n\n3. Third step\n\n```sh\nrun   --now\n# not a heading\n```"
    )
    assert document.title == "Pump manual"
    assert [(h.level, h.title) for h in document.headings] == [(1, "Pump P-40"), (2, "Parts")]
    assert all(document.text[h.start :].startswith("#") for h in document.headings)


@pytest.mark.parametrize(
    "furniture",
    [
        "<nav>X</nav>", "<aside>X</aside>", "<footer>X</footer>", "<script>X</script>", "<style>X</style>",
        "<button>X</button>", "<select><option>X</option></select>", "<textarea>X</textarea>",
        "<svg><text>X</text></svg>",
        "<div class='sidebar wide'>X</div>", "<div role='navigation'>X</div>", "<p hidden>X</p>",
        "<p style='display: none'>X</p>", "<div aria-hidden='true'>X</div>", "<noscript>X</noscript>",
        "<p><a href='/'>Home</a> › <a href='/x'>X</a> › Here</p>", "<template>X</template>", "<iframe>X</iframe>",
        "<p>Helpful? <a>Yes</a> · <a>No</a> · <a>Print X</a></p>", "<!-- X -->",
    ],
)  # fmt: skip
def test_furniture_is_dropped_but_not_what_follows_it(furniture: str) -> None:
    assert _text(f"<html><body><p>Before</p>{furniture} tail<h1>Content</h1><p>Words.</p></body></html>") == (
        "Before\n\ntail\n\n# Content\n\nWords."
    )


def test_only_title_in_a_page_header_is_kept() -> None:
    text = _text("<body><header><div><img alt='Logo'><h1>Guide</h1><a>Login</a></div></header><p>Words.</p></body>")
    assert text == "# Guide\n\nWords."


def test_layout_tables_are_no_tables() -> None:
    text = _text(
        "<table><tr><td><h2>Left</h2>One</td><td><table><tr><td>a</td><td>b</td></tr></table></td></tr></table>"
    )
    assert text == "## Left\n\nOne\n\n| a | b |\n| --- | --- |"


def test_declared_and_undeclared_encodings() -> None:
    chinese = "<html><head>{}</head><body><p>员工每天清洗过滤器。</p></body></html>"
    declared = chinese.format('<meta http-equiv="Content-Type" content="text/html; charset=gb2312">').encode("gb18030")
    assert load(declared, "a.html").text == "员工每天清洗过滤器。"
    assert load(chinese.format("").encode("gb18030"), "a.html").text == "员工每天清洗过滤器。"
    lying = chinese.format("<meta charset=iso-8859-1>").encode()
    assert load(lying, "a.html").text == "员工每天清洗过滤器。"
    assert load(chinese.format("<meta charset=rot13>").encode(), "a.html").text == "员工每天清洗过滤器。"


def test_plain_text_that_looks_like_markup_stays_text() -> None:
    document = load(b"<body><h1>T</h1><p># 5 bolts</p><p>```</p><p>end</p></body>", "a.html")
    assert document.text == "# T\n\n\\# 5 bolts\n\n\\```\n\nend"
    assert len(document.headings) == 1


def test_deep_nesting_and_hostile_spans_do_no_harm() -> None:
    assert _text("<body>" + "<div>" * 1500 + "deep" + "</div>" * 1500) == "deep"
    with pytest.raises(UnreadableDocument, match="nested too deeply"):
        _text("<body>" + "<div>" * 20_000 + "deep" + "</div>" * 20_000)
    wide = "<table><tr><td colspan=999999 rowspan=999999>a</td><td>b</td></tr><tr><td>c</td></tr></table>"
    assert len(_text(wide)) < 1000


def test_lists_and_paragraphs_inside_items() -> None:
    text = _text("<ul><li><p>One</p><p>more</p></li><li>Two<br>lines</li></ul><p>After</p>")
    assert text == "- One\n  more\n- Two\n  lines\n\nAfter"

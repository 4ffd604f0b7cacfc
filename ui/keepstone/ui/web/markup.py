"""HTML that is safe to show, made from text that nobody vouches for: model output, documents, file names.

Everything goes through `element`, which escapes text and attributes, or through `markdown`, which renders Markdown
without raw HTML, images and clickable links, and cleans the result once more.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

_VOID: Final = frozenset({"br", "hr", "input"})
_TAGS: Final = frozenset(
    {
        *("p", "br", "hr", "ul", "ol", "li", "blockquote", "pre", "code", "strong", "em"),
        *("h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
    }
)
_ATTRIBUTES: Final = {"ol": {"start"}}
# Stand for citations and for the edges of claims while Markdown is rendered; private use, never in real text.
_CITATION: Final = "\ue000"
_CLAIM_START: Final = "\ue001"
_CLAIM_END: Final = "\ue002"
_CLOSE: Final = "\ue003"
_PRIVATE: Final = re.compile(r"[\ue000-\ue003]")
_CONTROL: Final = re.compile(f"{_CITATION}(\\d+){_CLOSE}|{_CLAIM_START}(\\d+){_CLOSE}|{_CLAIM_END}")
_CITED: Final = re.compile(r"(?<![ \t])[ \t]*\[(\d{1,3})\](?!\()")
# What may stand before the first word of a claim without being part of it: list bullets, quotes, emphasis.
_LEADING: Final = re.compile(r"(?:\s+|#{1,6}\s+|[-*+]\s+|\d{1,3}[.)]\s+|>\s*|[*_`~]+)*")
_TRAILING: Final = " \t\r\n\f\v\u00a0\u3000*_`~"


class Markup(str):
    """HTML that is safe as it stands; `element` does not escape it again."""

    __slots__ = ()


Cite = Callable[[int, int], Markup | None]


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of Markdown to be wrapped in a span."""

    start: int
    end: int
    css_class: str
    title: str


def text(value: object) -> Markup:
    """Return `value` as text, escaped unless it is markup already."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """Return an element.

    Args:
        tag: its name.
        children: texts, which are escaped, and `Markup`; None is left out.
        attributes: `class_` for class, `data_id` for data-id. None and False leave the attribute out, True gives it no
            value.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(children)}</{tag}>")


def join(parts: Iterable[object], separator: str = "") -> Markup:
    """Return parts one after another, escaped where needed; None is left out."""
    return Markup(separator.join(text(part) for part in parts if part is not None))


def flat(source: str) -> str:
    """Return Markdown in one line of plain words, for a glance at it."""
    return " ".join(source.replace("|", " ").replace("#", " ").replace("**", "").split())


def with_code(words: str) -> Markup:
    """Return text in which what stands between backticks is set as code."""
    parts = words.split("`")
    if len(parts) % 2 == 0:
        return text(words)
    return join(element("code", part) if index % 2 else part for index, part in enumerate(parts))


def icon(name: str) -> Markup:
    """Return one of the icons of keepstone.css; it says nothing to screen readers."""
    return element("span", class_=f"icon icon-{name}", aria_hidden="true")


def action(event: str, label: object, *, class_: str = "link", **attributes: object) -> Markup:
    """Return a button that keepstone.js turns into the Gradio event `event`, with its data attributes as payload."""
    return element("button", label, type="button", class_=class_, data_event=event, **attributes)


def icon_action(event: str, name: str, label: str, *, title: str, **attributes: object) -> Markup:
    """Return an `action` that shows an icon alone; `label` says to screen readers what it does to what."""
    return action(event, icon(name), class_="icon-button", aria_label=label, title=title, **attributes)


def markdown(source: str, *, marks: Sequence[Mark] = (), cite: Cite = lambda _number, _offset: None) -> Markup:
    """Render Markdown of unknown origin.

    Args:
        source: the Markdown.
        marks: stretches of it to wrap; they must not overlap.
        cite: returns what to put in the place of a `[1]`, or None to leave it; it is given the number and the offset.
    """
    source = _PRIVATE.sub("\ufffd", source)
    cited = [(match, cite(int(match.group(1)), match.start())) for match in _CITED.finditer(source)]
    citations = [(match, button) for match, button in cited if button is not None]
    tokens = _tame(_PARSER.parse(_prepare(source, marks, [match for match, _ in citations])))
    rendered = _PARSER.renderer.render(tokens, _PARSER.options, {})
    attributes = {tag: set(names) for tag, names in _ATTRIBUTES.items()}
    clean = nh3.clean(rendered, tags=set(_TAGS), attributes=attributes, link_rel=None)
    return Markup(_insert(clean, marks, [button for _, button in citations]))


def _attribute(name: str, value: object) -> str:
    name = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(str(value), quote=True)}"'


def _prepare(source: str, marks: Sequence[Mark], citations: Sequence[re.Match[str]]) -> str:
    """Put control characters where marks begin and end, and in the place of citations."""
    controls = [(match.start(), 1, match.end(), f"{_CITATION}{n}{_CLOSE}") for n, match in enumerate(citations)]
    for number, mark in enumerate(marks):
        start, end = _inner_span(source, mark.start, mark.end)
        if start < end:
            controls.append((start, 2, start, f"{_CLAIM_START}{number}{_CLOSE}"))
            controls.append((end, 0, end, _CLAIM_END))
    parts: list[str] = []
    position = 0
    for begin, _, end, control in sorted(controls):
        parts += [source[position:begin], control]
        position = max(position, end)
    return "".join([*parts, source[position:]])


def _inner_span(source: str, start: int, end: int) -> tuple[int, int]:
    """Return the span without the Markdown signs at its edges, which must stay where Markdown reads them."""
    start, end = max(0, start), min(len(source), end)
    leading = _LEADING.match(source, start, end)
    start = leading.end() if leading else start
    return start, start + len(source[start:end].rstrip(_TRAILING))


def _insert(rendered: str, marks: Sequence[Mark], citations: Sequence[Markup]) -> str:
    """Put spans and citations in the place of control characters, stretch by stretch between tags.

    A mark that reaches over several elements becomes one span in each, so the tree stays well-formed.
    """
    parts: list[str] = []
    current: Mark | None = None
    for piece in re.split(r"(<[^>]*>)", rendered):
        if piece.startswith("<"):
            parts.append(_CONTROL.sub("", piece))
            continue
        position = 0
        for control in _CONTROL.finditer(piece):
            parts.append(_wrapped(piece[position : control.start()], current))
            position = control.end()
            if control.group(1) is not None:
                parts.append(citations[int(control.group(1))])
            elif control.group(2) is not None:
                current = marks[int(control.group(2))]
            else:
                current = None
        parts.append(_wrapped(piece[position:], current))
    return _PRIVATE.sub("", "".join(parts))


def _wrapped(escaped: str, mark: Mark | None) -> str:
    if mark is None or not escaped.strip():
        return escaped
    return element("span", Markup(escaped), class_=mark.css_class, title=mark.title)


def _tame(tokens: Sequence[Token]) -> Sequence[Token]:
    """Take out what loads something or leads elsewhere, and set headings below those of the page."""
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        if token.children:
            token.children = list(_without_links(token.children))
    return tokens


def _without_links(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield images as their descriptions, and links as their text with the host named behind it."""
    href, shown = "", ""
    for token in tokens:
        if token.type == "image":
            yield Token("text", "", 0, content=f"[{token.content or 'image'}]")
        elif token.type == "link_open":
            href, shown = str(token.attrGet("href") or ""), ""
        elif token.type == "link_close":
            host = _host(href)
            if host and host not in shown:
                yield Token("text", "", 0, content=f" ({host})")
        else:
            shown += token.content
            yield token


def _host(href: str) -> str:
    try:
        return urlsplit(href).hostname or ""
    except ValueError:
        return ""


_PARSER: Final = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")

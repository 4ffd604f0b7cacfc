"""The sections of a document, and which small ones share a chunk."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from keepstone.retrieval.chunking.tokens import TokenCounter
from keepstone.retrieval.types import Document


@dataclass(slots=True)
class _Node:
    """A heading with its own text; `path` holds the titles down to it."""

    start: int
    level: int
    path: tuple[str, ...]
    own_end: int = 0
    has_body: bool = True
    children: list[_Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of the document that is cut on its own."""

    start: int
    end: int
    tokens: int
    path: tuple[str, ...]
    """Titles of the headings that all of it, but for a few opening words, stands under; outermost first."""
    complete: bool
    """Whether it is everything under its heading, so that it may join its neighbours."""


def sections(document: Document, counter: TokenCounter, max_tokens: int) -> list[Section]:
    """Return sections that cover the whole text.

    Small neighbours under the same heading are joined until they fill half a chunk; none grows beyond `max_tokens`
    by that. A heading with few or no words of its own goes with the section below it.
    """
    root = _tree(document)
    return _join(root, counter, max_tokens)


def _tree(document: Document) -> _Node:
    text = document.text
    root = _Node(0, 0, (), own_end=len(text))
    stack = [root]
    last = root
    for heading in sorted(document.headings, key=lambda heading: heading.start):
        start = min(max(heading.start, last.start), len(text))
        _close(last, start, text)
        while stack[-1].level >= max(heading.level, 1):
            stack.pop()
        node = _Node(start, max(heading.level, 1), (*stack[-1].path, heading.title), own_end=len(text))
        stack[-1].children.append(node)
        stack.append(node)
        last = node
    _close(last, len(text), text)
    return root


def _close(node: _Node, end: int, text: str) -> None:
    node.own_end = end
    own = text[node.start : end].strip()
    node.has_body = "\n" in own if node.level else bool(own)


def _join(node: _Node, counter: TokenCounter, max_tokens: int) -> list[Section]:
    """Return the sections of a heading and everything under it."""
    below = [_join(child, counter, max_tokens) for child in node.children]
    if not node.has_body and below:
        # Its heading line alone: the first section below begins with it.
        below[0][0] = _section(node.start, below[0][0].end, counter, below[0][0].path, below[0][0].complete)
        own = []
    else:
        own = [_section(node.start, node.own_end, counter, node.path, complete=True)]
    found = [*own, *(section for group in below for section in group)]
    _join_opening(found, counter, max_tokens)
    joined: list[Section] = []
    for section in found:
        if joined and _fit(joined[-1], section, max_tokens) and joined[-1].tokens < max_tokens // 2:
            joined[-1] = _section(joined[-1].start, section.end, counter, node.path, complete=True)
        else:
            joined.append(section)
    _join_crumbs(joined, node, counter, max_tokens)
    # Several sections under one heading: none of them may join what stands outside of it.
    return joined if len(joined) == 1 else [replace(section, complete=False) for section in joined]


def _join_crumbs(joined: list[Section], node: _Node, counter: TokenCounter, max_tokens: int) -> None:
    """Give what stayed under a quarter of a chunk to the section before it, in place."""
    index = 1
    while index < len(joined):
        before, crumb = joined[index - 1], joined[index]
        if crumb.tokens < max_tokens // 4 and _fit(before, crumb, max_tokens):
            joined[index - 1 : index + 1] = [_section(before.start, crumb.end, counter, node.path, complete=True)]
        else:
            index += 1


def _join_opening(found: list[Section], counter: TokenCounter, max_tokens: int) -> None:
    """Give an opening of a few words (a company's name, a date) to the section after it, in place."""
    if len(found) < 2 or found[0].tokens >= max_tokens // 8:
        return
    opening, section = found[:2]
    fits = opening.tokens + section.tokens <= max_tokens
    if fits or section.tokens > max_tokens:  # what is cut anyway may as well begin earlier
        found[:2] = [_section(opening.start, section.end, counter, section.path, section.complete)]


def _fit(first: Section, second: Section, max_tokens: int) -> bool:
    return first.complete and second.complete and first.tokens + second.tokens <= max_tokens


def _section(start: int, end: int, counter: TokenCounter, path: tuple[str, ...], complete: bool) -> Section:
    before_start, before_end = counter.before([start, end])
    return Section(start, end, before_end - before_start, path, complete)

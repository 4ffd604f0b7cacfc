"""Which part of a web page is its content."""

from __future__ import annotations

import re

from lxml import etree


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DROPPED = _names("""
    head script style noscript template nav aside footer input select option optgroup button textarea datalist svg
    canvas iframe frame object embed applet video audio source track map dialog menu rp rt link meta annotation
    annotation-xml progress meter
""")
_DROPPED_ROLES = _names("""
    navigation banner contentinfo search complementary menu menubar toolbar dialog alertdialog button
""")
# Class names and ids that mean the same on most sites. Whole names only: "nav" must not drop "navigation-manual".
_DROPPED_NAMES = _names("""
    nav navbar navbox navigation site-nav main-nav menu main-menu topbar sidebar side-bar breadcrumb breadcrumbs crumbs
    footer site-footer page-footer site-header cookie-banner cookie-notice cookie-consent skip-link skip-nav
    skip-to-content toc table-of-contents mw-editsection mw-jump-link noprint no-print headerlink pagination pager
    share-buttons social-links social-share advertisement ads related-posts newsletter catlinks printfooter mw-portlet
    vector-menu vector-dropdown mwe-math-fallback-image-inline mwe-math-fallback-image-display sr-only visually-hidden
""")
_CRUMBS = re.compile(r"^[^›»\n]{1,40}(?:\s[›»]\s[^›»\n]{1,80}){1,6}$")
_LONGEST_MENU_LINE = 200
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


def remove_boilerplate(root: etree._Element) -> None:
    """Take everything out of the tree, in place, that is no content."""
    lonely_title = _title_in_page_header(root)
    _drop_menu_lines(root)
    doomed = [element for element in root.iter(etree.Element) if element is not root and _is_boilerplate(element)]
    for element in doomed:
        if lonely_title is not None and element in lonely_title.iterancestors():
            _keep_only(element, lonely_title)
        else:
            _drop(element)


def main_content(root: etree._Element) -> etree._Element:
    """Return the element that holds the content: `<main>`, a lone `<article>`, or the whole body."""
    body = root.find("body")
    body = root if body is None else body
    whole = _length(body)
    for candidates in (
        root.xpath("//main | //*[@role='main']"),
        root.xpath("//article[not(ancestor::article)]"),
    ):
        if len(candidates) == 1 and _length(candidates[0]) >= 0.4 * whole:
            return candidates[0]
    return body


def _is_boilerplate(element: etree._Element) -> bool:
    tag = element.tag
    if tag in _DROPPED:
        return True
    if tag in {"body", "main", "article"}:
        return False
    if tag == "header":
        return not any(above.tag in {"main", "article"} for above in element.iterancestors())
    return bool(element.attrib) and _is_marked_boilerplate(element)


def _is_marked_boilerplate(element: etree._Element) -> bool:
    """Judge an element by its attributes."""
    attributes = element.attrib
    hidden = "hidden" in attributes or attributes.get("aria-hidden") == "true"
    if hidden or attributes.get("role") in _DROPPED_ROLES or _HIDDEN.search(attributes.get("style", "")):
        return True
    if element.tag == "sup" and "reference" in attributes.get("class", ""):
        return True
    names = f"{attributes.get('class', '')} {attributes.get('id', '')}".lower().split()
    return not _DROPPED_NAMES.isdisjoint(names)


def _drop_menu_lines(root: etree._Element) -> None:
    """Drop paragraphs that are menus: the path to this page above its first heading, and rows of short links."""
    before_heading = next(root.iter("h1", "h2"), None) is not None
    for element in list(root.iter("h1", "h2", "p", "div")):
        if element.tag in {"h1", "h2"}:
            before_heading = False
        elif element.find("p") is None and element.find("div") is None:
            text = " ".join("".join(element.itertext()).split())
            if len(text) <= _LONGEST_MENU_LINE and (
                (before_heading and _CRUMBS.match(text)) or _is_row_of_links(element, text)
            ):
                _drop(element)


def _is_row_of_links(element: etree._Element, text: str) -> bool:
    links = [" ".join("".join(link.itertext()).split()) for link in element.iter("a")]
    inside = sum(map(len, links))
    separated = any(mark in text for mark in "·|•/")
    return len(links) >= 3 and separated and inside >= 0.35 * len(text) and max(map(len, links)) <= 30


def _title_in_page_header(root: etree._Element) -> etree._Element | None:
    """Return the page's only `<h1>` where it stands in a page header, which is otherwise dropped."""
    titles = root.xpath("//h1")
    return titles[0] if len(titles) == 1 and any(a.tag == "header" for a in titles[0].iterancestors()) else None


def _keep_only(element: etree._Element, kept: etree._Element) -> None:
    kept.tail = None
    element.text = None
    element[:] = [kept]


def _drop(element: etree._Element) -> None:
    """Remove an element but not the text that follows it."""
    parent = element.getparent()
    if parent is None:
        return
    tail = element.tail
    if tail:
        previous = element.getprevious()
        if previous is None:
            parent.text = (parent.text or "") + tail
        else:
            previous.tail = (previous.tail or "") + tail
    parent.remove(element)


def _length(element: etree._Element) -> int:
    return sum(len(text.strip()) for text in element.itertext())

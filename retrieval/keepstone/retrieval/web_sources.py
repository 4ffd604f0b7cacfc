"""What is behind a URL that is handed in: a page or file to be read, or a sitemap that lists pages.

found = read_url(fetcher, "https://example.org/sitemap.xml", max_pages=500)
# Sitemap(pages=("https://example.org/guide.html", ...), left_out=0)
"""

from __future__ import annotations

import hashlib
import html
import io
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO

import httpx

from keepstone.platform.errors import UnreadableDocument
from keepstone.platform.fetching import Fetched, Fetcher

_LONGEST_NAME = 240
# The endings that content types get where the address has none.
_ENDINGS = {
    "text/html": ".html", "application/xhtml+xml": ".html", "text/markdown": ".md", "text/plain": ".txt",
    "application/pdf": ".pdf", "application/json": ".json", "text/csv": ".csv", "message/rfc822": ".eml",
    "text/tab-separated-values": ".tsv", "application/x-ndjson": ".jsonl", "application/x-ipynb+json": ".ipynb",
    "text/x-rst": ".rst",
}  # fmt: skip
# Patterns rather than a parser: a list of addresses needs none, and there are no entities to bomb with.
_SITEMAP = re.compile(rb"<(?:\w{1,40}:)?(?:urlset|sitemapindex)\b")
# Nothing is given back, or blanks without end would be shared out in every possible way.
_LOCATION = re.compile(rb"<(?:\w{1,40}:)?loc>\s*+(?:<!\[CDATA\[\s*+)?([^<>\s\]]{1,4000})\s*+(?:\]\]>\s*+)?</")


@dataclass(frozen=True, slots=True)
class Page:
    """A page or file."""

    name: str
    """Its address without the protocol, as a document's name: `example.org/docs/guide.html`."""
    stream: BinaryIO


@dataclass(frozen=True, slots=True)
class Sitemap:
    """Addresses of pages, or of further sitemaps, on the host that lists them."""

    pages: tuple[str, ...]
    left_out: int
    """How many more it lists."""


def read_url(fetcher: Fetcher, url: str, *, max_pages: int) -> Page | Sitemap:
    """Fetch what a URL names.

    Args:
        fetcher: does it.
        url: of a page, a file, or a sitemap (https://www.sitemaps.org/protocol.html).
        max_pages: most addresses taken from a sitemap.

    Raises:
        KeepstoneError: see `Fetcher.fetch`.
        UnreadableDocument: a sitemap that lists nothing on its own host.
    """
    found = fetcher.fetch(url)
    if not _SITEMAP.search(found.data[:4096]):
        return Page(_name(found), io.BytesIO(found.data))
    here = httpx.URL(found.url)
    pages = list(dict.fromkeys(page for page in _locations(found.data) if _is_beside(page, here)))
    if not pages:
        raise UnreadableDocument(f"The sitemap {url[:200]!r} lists no page of its own host", fix="Hand in the pages")
    return Sitemap(tuple(pages[:max_pages]), max(len(pages) - max_pages, 0))


def _locations(data: bytes) -> list[str]:
    return [html.unescape(match[1].decode("utf-8", errors="replace")) for match in _LOCATION.finditer(data)]


def _is_beside(page: str, here: httpx.URL) -> bool:
    try:
        url = httpx.URL(page)
    except (httpx.InvalidURL, ValueError):
        return False
    return url.scheme in ("http", "https") and (url.raw_host, url.port) == (here.raw_host, here.port)


def _name(found: Fetched) -> str:
    url = httpx.URL(found.url)
    path = url.path.strip("/")
    name = f"{url.netloc.decode('ascii')}/{path}" if path else f"{url.netloc.decode('ascii')}/index"
    ending = PurePath(path).suffix or _ENDINGS.get(found.content_type, "")
    name = name.removesuffix(ending)
    query = url.query.decode("ascii", errors="replace")
    if query:
        name += f"?{query}"
    if len(name) + len(ending) > _LONGEST_NAME:
        digest = hashlib.sha256(found.url.encode()).hexdigest()[:16]
        name, ending = f"{name[: _LONGEST_NAME - 50]}-{digest}", ending[:30]
    return name + ending

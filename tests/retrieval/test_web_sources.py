"""Pages get their addresses for names; sitemaps list pages of their own host only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keepstone.platform.errors import UnreadableDocument
from keepstone.platform.fetching import Fetcher
from keepstone.platform.settings import FetchSettings
from keepstone.retrieval.web_sources import Page, Sitemap, read_url
from tests.web_server import Reply, WebServer, web_server

_HTML = {"Content-Type": "text/html"}
_REPLIES = {
    "/": Reply(b"<h1>Start</h1>", _HTML),
    "/docs/guide": Reply(b"<h1>Guide</h1>", _HTML),
    "/a%20b/notes.md?v=1.5&w=x": Reply(b"# Notes"),
    "/" + "x" * 400 + ".txt": Reply(b"long"),
    "/sitemap.xml": Reply(
        b"<?xml version='1.0'?><urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>"
        b"<url><loc>{root}/docs/guide?a=1&amp;b=2</loc></url><url><loc> {root}/ </loc></url>"
        b"<url><loc><![CDATA[{root}/cdata]]></loc></url><url><loc>{root}/</loc></url>"
        b"<url><loc>http://other.example/</loc></url><url><loc>file:///etc/passwd</loc></url>"
        b"<url><loc>http://127.0.0.1:1/</loc></url></urlset>"
    ),
    "/index.xml": Reply(b"<sitemapindex><sitemap><loc>{root}/sitemap.xml</loc></sitemap></sitemapindex>"),
    "/blanks.xml": Reply(b"<urlset><url><loc>" + b" " * 500_000 + b"<"),
    "/foreign.xml": Reply(b"<urlset><url><loc>http://other.example/</loc></url></urlset>"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with web_server(_REPLIES) as running:
        yield running


def _read(server: WebServer, path: str, max_pages: int = 10) -> Page | Sitemap:
    fetcher = Fetcher(FetchSettings(allowed_networks=("127.0.0.1",), timeout_s=20))
    return read_url(fetcher, server.root + path, max_pages=max_pages)


@pytest.mark.parametrize(
    ("path", "name", "data"),
    [
        ("/", "/index.html", b"<h1>Start</h1>"),
        ("/docs/guide", "/docs/guide.html", b"<h1>Guide</h1>"),
        ("/a%20b/notes.md?v=1.5&w=x", "/a b/notes?v=1.5&w=x.md", b"# Notes"),
    ],
)
def test_a_page_is_named_by_its_address(server: WebServer, path: str, name: str, data: bytes) -> None:
    page = _read(server, path)
    assert isinstance(page, Page)
    assert (page.name, page.stream.read()) == (f"127.0.0.1:{server.port}{name}", data)


def test_names_that_are_too_long_stay_different(server: WebServer) -> None:
    page = _read(server, "/" + "x" * 400 + ".txt")
    assert isinstance(page, Page)
    assert len(page.name) <= 255
    assert page.name.endswith(".txt")


def test_a_sitemap_lists_pages_of_its_host(server: WebServer) -> None:
    expected = tuple(f"{server.root}{path}" for path in ("/docs/guide?a=1&b=2", "/", "/cdata"))
    assert _read(server, "/sitemap.xml") == Sitemap(expected, 0)
    assert _read(server, "/sitemap.xml", max_pages=2) == Sitemap(expected[:2], 1)
    assert _read(server, "/index.xml") == Sitemap((f"{server.root}/sitemap.xml",), 0)
    with pytest.raises(UnreadableDocument, match="own host"):
        _read(server, "/foreign.xml")


def test_a_sitemap_cannot_keep_the_app_busy(server: WebServer) -> None:
    """With the square of its blanks, this one would stop everything for hours."""
    with pytest.raises(UnreadableDocument, match="own host"):
        _read(server, "/blanks.xml")

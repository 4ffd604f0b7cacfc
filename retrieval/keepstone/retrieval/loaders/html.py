"""HTML: the main content as Markdown, without menus, footers, forms and scripts. Nothing is ever fetched.

lxml parses; one pass over the tree, without recursion, tells a `MarkdownWriter` what it meets. (markdownify, the
usual choice, escapes and decorates text, which spoils search, and recurses as deep as the page is nested.)
"""

from __future__ import annotations

import codecs
import re

from lxml import etree, html

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders.base import LoadLimits, clean, empty, parser_id, shown
from keepstone.retrieval.loaders.encoding import decode, decode_declared
from keepstone.retrieval.loaders.html_content import main_content, remove_boilerplate
from keepstone.retrieval.loaders.html_walk import write_markdown
from keepstone.retrieval.loaders.writer import MarkdownWriter, one_line
from keepstone.retrieval.loaders.xml_errors import check_complete
from keepstone.retrieval.types import Document

_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})|<\?xml[^>]{0,100}?encoding=["']([A-Za-z0-9_.:-]{2,40})""",
    re.IGNORECASE,
)
_XML_PROLOG = re.compile(r"^\s*<\?xml[^>]*>")


class HtmlLoader:
    """Reads web pages."""

    name = "html"
    version = f"1 lxml {etree.__version__}"
    media_types = frozenset({"text/html"})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        writer = MarkdownWriter(limits.max_text_chars)
        title = write_html(decode_html(data, name), name, writer)
        return writer.document(name=name, media_type="text/html", parser=parser_id(self), title=title)


def write_html(page: str, name: str, writer: MarkdownWriter) -> str:
    """Write the main content of a page, and return the page's title.

    Raises:
        UnreadableDocument: there is nothing in it, or it is nested too deeply.
    """
    root = parse_html(page, name)
    title = one_line(" ".join(root.xpath("//head/title[1]//text()")))
    remove_boilerplate(root)
    write_markdown(main_content(root), writer)
    return title


def parse_html(page: str, name: str) -> etree._Element:
    """Return the root of a page.

    Raises:
        UnreadableDocument: there is nothing in it, or it is nested too deeply.
    """
    text = _XML_PROLOG.sub("", clean(page))
    if not text.strip():
        raise empty(name)
    parser = html.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        root = html.document_fromstring(text.encode(), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError) as error:
        check_complete(parser, name)
        raise UnreadableDocument(
            f"{shown(name)} contains no HTML content", fix="Check the file in a browser"
        ) from error
    check_complete(parser, name)
    return root


def decode_html(data: bytes, name: str) -> str:
    """Return the page's text: by its byte order mark, by UTF-8 if it is that, by what it declares, or by statistics."""
    declared = _DECLARED.search(data[:4096])
    if declared is None or data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return decode(data, name)
    return decode_declared(data, (declared[1] or declared[2]).decode("ascii"), name)

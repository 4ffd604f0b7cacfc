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
from keepstone.retrieval.loaders.encoding import decode
from keepstone.retrieval.loaders.html_content import main_content, remove_boilerplate
from keepstone.retrieval.loaders.html_walk import write_markdown
from keepstone.retrieval.loaders.writer import MarkdownWriter, one_line
from keepstone.retrieval.loaders.xml_errors import check_complete
from keepstone.retrieval.types import Document

_DECLARED = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})|<\?xml[^>]{0,100}?encoding=["']([A-Za-z0-9_.:-]{2,40})""",
    re.IGNORECASE,
)
# What the names mean on the web (https://encoding.spec.whatwg.org/#names-and-labels).
_WEB_NAMES = {
    "iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs",
    "shift_jis": "cp932", "euc_kr": "cp949", "iso8859-9": "cp1254", "tis-620": "cp874",
}  # fmt: skip
_XML_PROLOG = re.compile(r"^\s*<\?xml[^>]*>")


class HtmlLoader:
    """Reads web pages."""

    name = "html"
    version = f"1 lxml {etree.__version__}"
    media_types = frozenset({"text/html"})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        text = _XML_PROLOG.sub("", clean(_decode(data, name)))
        if not text.strip():
            raise empty(name)
        parser = html.HTMLParser(
            encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=True
        )
        try:
            root = html.document_fromstring(text.encode(), parser=parser)
        except (etree.ParserError, etree.XMLSyntaxError) as error:
            check_complete(parser, name)
            raise UnreadableDocument(
                f"{shown(name)} contains no HTML content", fix="Check the file in a browser"
            ) from error
        check_complete(parser, name)
        title = one_line(" ".join(root.xpath("//head/title[1]//text()")))
        remove_boilerplate(root)
        writer = MarkdownWriter(limits.max_text_chars)
        write_markdown(main_content(root), writer)
        return writer.document(name=name, media_type="text/html", parser=parser_id(self), title=title)


def _decode(data: bytes, name: str) -> str:
    """Return the page's text: by its byte order mark, by UTF-8 if it is that, by what it declares, or by statistics."""
    declared = _DECLARED.search(data[:4096])
    if declared is None or data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return decode(data, name)
    for encoding in ("utf-8", _codec((declared[1] or declared[2]).decode("ascii"))):
        try:
            return data.decode(encoding) if encoding else decode(data, name)
        except UnicodeDecodeError:
            continue
    return decode(data, name)


def _codec(label: str) -> str | None:
    try:
        found = codecs.lookup(label)
    except LookupError:
        return None
    if not found._is_text_encoding:  # noqa: SLF001 - there is no public name for it
        return None
    return _WEB_NAMES.get(found.name, found.name)

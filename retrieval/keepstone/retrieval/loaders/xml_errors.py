"""What libxml2 keeps to itself: parsers that recover from errors also leave text out without raising."""

from __future__ import annotations

from lxml import etree

from keepstone.retrieval.loaders.base import nested_too_deeply


def check_complete(parser: etree.XMLParser | etree.HTMLParser, name: str) -> None:
    """Raise where a parser stopped before the end of its input.

    Raises:
        MemoryError: it ran out of memory.
        UnreadableDocument: elements stand too deeply inside each other.
    """
    for error in parser.error_log:
        if error.type == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError
        if "Excessive depth" in error.message:
            raise nested_too_deeply(name)

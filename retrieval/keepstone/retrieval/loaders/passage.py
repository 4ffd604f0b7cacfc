"""Passages that a program hands in: a text with an id and details of its choice, as JSON.

name, data = passage_file("faq-7", "The warranty lasts two years.", {"product": "AF-200"})

They become documents like files do. Everything that is known of one stands in its bytes, so whatever is derived from
them can be made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

from keepstone.platform.errors import InvalidInput, LimitExceeded, UnreadableDocument
from keepstone.retrieval.language import detect_language
from keepstone.retrieval.loaders.base import LoadLimits, clean, parser_id, shown
from keepstone.retrieval.loaders.detect import PASSAGE, PASSAGE_START
from keepstone.retrieval.loaders.writer import too_much_text
from keepstone.retrieval.types import Document

_ENDING: Final = ".passage.json"
_MAX_NAME: Final = 255
_MAX_DETAILS: Final = 64 * 1024


class PassageLoader:
    """Reads what `passage_file` writes."""

    name = "passage"
    version = "1"
    media_types = frozenset({PASSAGE})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        try:
            values = json.loads(data)
            text, details = clean(values["text"]), dict(values["details"])
        except (ValueError, TypeError, KeyError) as error:
            raise UnreadableDocument(f"{shown(name)} is no passage", fix="Write it with `passage_file`") from error
        if len(text) > limits.max_text_chars:
            raise too_much_text(limits.max_text_chars)
        return Document(
            text=text,
            media_type=PASSAGE,
            parser=parser_id(self),
            language=detect_language(text),
            details=details,
        )


def passage_file(passage_id: str, text: str, details: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return the file that a passage is stored as: its name and its bytes.

    Args:
        passage_id: names it in its collection; passages of the same id replace each other.
        text: what is found and cited.
        details: what else is known, as JSON can hold it.

    Raises:
        InvalidInput: the id is empty or too long, there is no text, or the details are nothing for JSON.
        LimitExceeded: the details are longer than 64 KiB.
    """
    if not text.strip():
        raise InvalidInput(f"The passage {passage_id[:80]!r} has no text", fix="Leave it out")
    name = passage_name(passage_id)
    try:
        described = json.dumps(dict(details), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        fix = "Use texts, numbers, booleans, lists and dicts only"
        raise InvalidInput(f"The details of {passage_id[:80]!r} cannot be written as JSON: {error}", fix=fix) from error
    if len(described) > _MAX_DETAILS:
        raise LimitExceeded(f"The details of {passage_id[:80]!r} are longer than 64 KiB", fix="Put them into the text")
    values = f'"id": {json.dumps(passage_id)}, "text": {json.dumps(text)}, "details": {described}}}'
    return name, (PASSAGE_START + values).encode()


def passage_name(passage_id: str) -> str:
    """Return the name of a passage's document: its id, written so that any id makes a name.

    Raises:
        InvalidInput: it is empty or too long.
    """
    name = quote(passage_id, safe="", errors="surrogatepass") + _ENDING
    if not passage_id or len(name) > _MAX_NAME:
        raise InvalidInput(f"{passage_id[:80]!r} cannot be the id of a passage", fix="Use 1 to 80 characters")
    return name


def passage_id(name: str) -> str | None:
    """Return the id of the passage that a document of this name is, None where it is a file."""
    return unquote(name.removesuffix(_ENDING)) if name.endswith(_ENDING) else None

"""Names of documents: safe to show and to store, and each given once.

name = clean_name("../folder//report.pdf")  # "folder/report.pdf"
"""

from __future__ import annotations

import re
import unicodedata

from keepstone.platform.errors import Conflict, InvalidInput

_MAX_NAME = 255


def clean_name(name: str) -> str:
    """Return a file name that is safe to show and to store: relative, with `/`, no `..`, no control characters.

    Raises:
        InvalidInput: nothing usable is left, or it is longer than 255 characters.
    """
    text = unicodedata.normalize("NFC", name).replace("\\", "/")
    # Blanks of all widths become plain ones; what cannot be seen goes.
    text = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
    text = "".join(c for c in text if unicodedata.category(c)[0] != "C" and unicodedata.category(c) not in ("Zl", "Zp"))
    parts = [part.strip() for part in text.split("/")]
    cleaned = "/".join(part for part in parts if part not in ("", ".", "..") and not re.fullmatch(r"[A-Za-z]:", part))
    if not cleaned or len(cleaned) > _MAX_NAME:
        raise InvalidInput(
            f"A document cannot be named {name[:80]!r}", fix=f"Rename the file: 1 to {_MAX_NAME} visible characters"
        )
    return cleaned


def refuse_repeated(name: str, taken: set[str]) -> None:
    """Note the name of one of several files that are handed in together.

    One by one, a file replaces that of the same name; files that come together are meant to be there together.

    Args:
        name: as it was given.
        taken: the names of the files before it; gets this one.

    Raises:
        InvalidInput: the name cannot be used.
        Conflict: it was there before.
    """
    cleaned = clean_name(name)
    if cleaned in taken:
        raise Conflict(f"Another file handed in with this one is named {cleaned!r}", fix="Rename one of the two")
    taken.add(cleaned)

"""Pages of a PDF that are pictures, or whose text maps to no characters: drawn, and read by text recognition."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import median

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from keepstone.retrieval.loaders import ocr
from keepstone.retrieval.loaders.base import LoadLimits
from keepstone.retrieval.loaders.pdf_lines import Line

_UNMAPPED = re.compile("[\ufffd\ue000-\uf8ff]|\\(cid:\\d+\\)")
_DOTS_PER_INCH = 300
_LONGEST_SIDE = 4000
_USUAL_SIZE = 10.0


def is_readable(lines: Sequence[Line]) -> bool:
    """Tell whether lines hold text, rather than nothing or codes of glyphs that no table maps to characters."""
    text = "".join(line.text for line in lines)
    visible = len("".join(text.split()))
    return visible > 0 and len(_UNMAPPED.findall(text)) <= 0.5 * visible


def recognise_scans(
    pdf: pdfium.PdfDocument, pages: Sequence[list[Line]], name: str, limits: LoadLimits
) -> list[list[Line]]:
    """Return the pages, those without readable text with what is recognised, where OCR is installed.

    Raises:
        LimitExceeded: it takes too long.
    """
    if ocr.program() is None:
        return list(pages)
    sizes = [line.size for lines in pages for line in lines]
    size = median(sizes) if sizes else _USUAL_SIZE
    found: list[list[Line]] = []
    for index, lines in enumerate(pages):
        scanned = not is_readable(lines) and (lines or _has_picture(pdf, index))
        found.append(_recognised(pdf, index, size, name, limits) if scanned else lines)
    return found


def _has_picture(pdf: pdfium.PdfDocument, index: int) -> bool:
    try:
        page = pdf[index]
        return next(page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE], max_depth=5), None) is not None
    except pdfium.PdfiumError:
        return False


def _recognised(pdf: pdfium.PdfDocument, index: int, size: float, name: str, limits: LoadLimits) -> list[Line]:
    """Return each paragraph of a page as a line of its own, far enough from the next to stay a paragraph."""
    try:
        page = pdf[index]
        scale = min(_DOTS_PER_INCH / 72, _LONGEST_SIDE / max(*page.get_size(), 1.0))
        picture = page.render(scale=scale, grayscale=True).to_pil()
    except (pdfium.PdfiumError, ValueError):
        return []
    return [
        Line(
            text=text, left=0.0, right=500.0, bottom=-4.0 * size * number, size=size, bold=False, relative=0.5,
            last_bottom=-4.0 * size * number,
        )
        for number, text in enumerate(ocr.recognise(picture, name, limits))
    ]  # fmt: skip

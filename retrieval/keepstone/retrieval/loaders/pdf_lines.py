"""The lines of a PDF page with their place and type size, from PDFium's text page."""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

_BOLD_FONT = re.compile(r"bold|black|heavy|demi|semib|cmbx|simhei|-bd\b", re.IGNORECASE)
# Shapes that fonts use for characters: ligatures, Arabic forms by position, radicals in place of Chinese characters.
_SHAPES = re.compile("[\u2e80-\u2fdf\ufb00-\ufdff\ufe70-\ufefc]+")
_SPACES = re.compile(r"[\s\u00a0]+")
_MOST_CHARACTERS = 400_000
_HYPHEN_CODE = 2
_HYPHEN = "\x02"  # what PDFium puts for a hyphen at a line's end, having joined the lines
_FONT_NAME_BYTES = 128


class Place(NamedTuple):
    """A part of a page, as parts of its width and height, from its left and its top, as it is seen."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text. Lengths are in points; y grows upwards, as the page is seen."""

    text: str
    left: float
    right: float
    bottom: float
    size: float
    """Height of the type, from descender to ascender."""
    bold: bool
    relative: float
    """Height on the page, 0 at the bottom to 1 at the top."""
    last_bottom: float
    """Of its last character: differs where PDFium joined lines at a hyphen."""
    place: Place | None = None
    """Where it is seen; None where that is not known."""


def page_lines(page: pdfium.PdfPage) -> list[Line]:
    """Return the lines of a page in the order in which the file gives them, which is nearly always reading order."""
    textpage = page.get_textpage()
    try:
        count = min(textpage.count_chars(), _MOST_CHARACTERS)
        raw, unicode_of = textpage.raw, pdfium_c.FPDFText_GetUnicode
        codes = [unicode_of(raw, index) for index in range(count)]
        reader = _LineReader(page, raw)
        lines: list[Line] = []
        start = 0
        for index, code in enumerate([*codes, 10]):
            if code == 10:
                line = reader.line(codes, start, index)
                if line is not None:
                    if lines and _same_row(lines[-1], line):
                        lines[-1] = _joined(lines[-1], line)
                    else:
                        lines.append(line)
                start = index + 1
        return lines
    finally:
        textpage.close()


class _LineReader:
    def __init__(self, page: pdfium.PdfPage, raw_textpage: Any) -> None:
        self._textpage = raw_textpage
        self._rotation = page.get_rotation()
        self._width, self._height = page.get_size()
        left, bottom, _, _ = page.get_bbox()
        # From the page's own coordinates, whose origin may lie off the page, to what is seen of it.
        shifts = {90: (-bottom, left), 180: (left, bottom), 270: (bottom, -left)}
        self._shift = shifts.get(self._rotation, (-left, -bottom))
        self._box = pdfium_c.FS_RECTF()
        self._font = ctypes.create_string_buffer(_FONT_NAME_BYTES)
        self._flags = ctypes.c_int()

    def line(self, codes: list[int], start: int, end: int) -> Line | None:
        """Return the line of the characters [start, end), None for white space."""
        visible = [index for index in range(start, end) if codes[index] > 32 and codes[index] != 0xFFFE]
        if not visible:
            return None
        text = _text(codes[start:end])
        if not text:
            return None
        first, middle, last = visible[0], visible[len(visible) // 2], visible[-1]
        boxes = [self._place(index) for index in (first, middle, last)]
        size = sorted(top - bottom for _, bottom, _, top in boxes)[1]
        return Line(
            text=text,
            left=boxes[0][0],
            right=boxes[2][2],
            bottom=boxes[0][1],
            size=round(size * 4) / 4,
            bold=self._is_bold(first) and self._is_bold(last),
            relative=boxes[0][1] / self._height if self._height else 0.5,
            last_bottom=boxes[2][1],
            place=self._seen([*boxes, *(self._place(each) for each in self._around_hyphens(codes, visible))]),
        )

    @staticmethod
    def _around_hyphens(codes: list[int], visible: list[int]) -> list[int]:
        """Return the characters at which PDFium went on in the next line."""
        hyphens = [index for index in visible if codes[index] == _HYPHEN_CODE]
        return [index for hyphen in hyphens for index in (hyphen - 1, hyphen + 1) if visible[0] < index < visible[-1]]

    def _seen(self, boxes: list[tuple[float, float, float, float]]) -> Place | None:
        if self._width <= 0 or self._height <= 0:
            return None
        across, up = self._shift
        lefts, bottoms, rights, tops = zip(*boxes, strict=True)
        return Place(
            _part((min(lefts) + across) / self._width),
            _part(1 - (max(tops) + up) / self._height),
            _part((max(rights) + across) / self._width),
            _part(1 - (min(bottoms) + up) / self._height),
        )

    def _place(self, index: int) -> tuple[float, float, float, float]:
        """Return left, bottom, right, top of a character on the page as it is seen."""
        box = self._box
        pdfium_c.FPDFText_GetLooseCharBox(self._textpage, index, box)
        if self._rotation == 90:
            return box.bottom, self._height - box.right, box.top, self._height - box.left
        if self._rotation == 180:
            return self._width - box.right, self._height - box.top, self._width - box.left, self._height - box.bottom
        if self._rotation == 270:
            return self._width - box.top, box.left, self._width - box.bottom, box.right
        return box.left, box.bottom, box.right, box.top

    def _is_bold(self, index: int) -> bool:
        if pdfium_c.FPDFText_GetFontWeight(self._textpage, index) >= 600:
            return True
        length = pdfium_c.FPDFText_GetFontInfo(self._textpage, index, self._font, _FONT_NAME_BYTES, self._flags)
        name = self._font.value if 0 < length <= _FONT_NAME_BYTES else b""
        return _BOLD_FONT.search(name.decode("latin-1")) is not None


def _text(codes: list[int]) -> str:
    text = "".join(map(chr, codes))
    while (at := text.find(_HYPHEN)) >= 0:
        # "co-\nordinate" is one word, "COVID-\n19" and "Anglo-\nSaxon" keep their hyphen.
        following = text[at + 1 : at + 2]
        text = text[:at] + ("" if following.islower() else "-") + text[at + 1 :]
    text = _SHAPES.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return _SPACES.sub(" ", text).strip()


def _part(share: float) -> float:
    return round(min(max(share, 0.0), 1.0), 4) if math.isfinite(share) else 0.0


def _same_row(before: Line, line: Line) -> bool:
    """Tell whether PDFium broke a line at a gap within it, or at a superscript."""
    overlap = abs(before.last_bottom - line.bottom) < 0.35 * max(before.size, line.size)
    return overlap and line.left >= before.right - 1 and line.left - before.right < 4 * max(before.size, line.size)


def _joined(before: Line, line: Line) -> Line:
    gap = " " if line.left - before.right > 0.15 * max(before.size, line.size) else ""
    return replace(
        before,
        text=before.text + gap + line.text,
        right=line.right,
        last_bottom=before.last_bottom if line.size < before.size else line.last_bottom,
        size=max(before.size, line.size),
        bold=before.bold and line.bold,
        place=_both(before.place, line.place),
    )


def _both(one: Place | None, other: Place | None) -> Place | None:
    if one is None or other is None:
        return one or other
    return Place(
        min(one.left, other.left), min(one.top, other.top), max(one.right, other.right), max(one.bottom, other.bottom)
    )

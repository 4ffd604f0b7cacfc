"""Numbers and dates of a spreadsheet as people see them: stored are a bare number and a format such as `#,##0.00 "kg"`.

Formats are those of ECMA-376, part 1, 18.8.30 and 18.8.31. Dates are written as ISO 8601 to the precision that the
format shows, because a passage that says 03/04/2026 says too little.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import lru_cache

BUILT_IN = {
    1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 5: "$#,##0", 6: "$#,##0", 7: "$#,##0.00", 8: "$#,##0.00", 9: "0%",
    10: "0.00%", 11: "0.00E+00", 14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm", 19: "h:mm:ss",
    20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd h:mm", 37: "#,##0", 38: "#,##0", 39: "#,##0.00", 40: "#,##0.00",
    41: "#,##0", 42: "$#,##0", 43: "#,##0.00", 44: "$#,##0.00", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss",
}  # fmt: skip
"""The formats that a file refers to by number alone; the rest of them show numbers as they are."""

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|[_*].|\[\$(?P<currency>[^\]-]*)[^\]]*\]|\[(?P<elapsed>[hms]+)\]|\[[^\]]*\]'
    r"|(?P<digits>[0#?][0#?.,]*|\.[0#?]+)|(?P<exponent>E[+-]0+)|(?P<general>General|@)|(?P<half>AM/PM|A/P)"
    r"|(?P<date>[yYmMdDhHsSgGeEbB]+)|(?P<other>.)",
    re.DOTALL | re.IGNORECASE,
)
_MOST_DECIMALS = 15
_LONGEST_FORMAT = 255
_SPACES = re.compile(r"\s+")


@dataclass(slots=True)
class _Format:
    """One section of a number format, taken apart."""

    before: str = ""
    after: str = ""
    digits: str = ""
    dates: str = ""
    """The letters of a date's parts, in order."""
    elapsed: bool = False
    exponent: bool = False


def spelled(text: str, number_format: str, *, since_1904: bool = False) -> str:
    """Return a stored number as the program shows it.

    Args:
        text: the number, as stored.
        number_format: of its cell, "" for none.
        since_1904: whether dates count from 1904 rather than 1900.
    """
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    sections = _sections(number_format)
    signed = len(sections) > 1 and number < 0
    chosen = sections[1] if signed else sections[2] if number == 0 and len(sections) > 2 else sections[0]
    if chosen.dates:
        return _date(number, chosen, since_1904=since_1904) or general(number)
    if number_format and not chosen.digits:  # words alone, or nothing
        return chosen.before.strip()
    shown = _number(abs(number) if signed else number, chosen)
    return _SPACES.sub(" ", f"{chosen.before}{shown}{chosen.after}").strip()


def general(number: float) -> str:
    """Return a number without a format: at most 15 digits, as spreadsheets compute with no more."""
    text = f"{number:.15g}"
    return f"{Decimal(text):f}" if "e" in text and 1e-10 < abs(number) < 1e21 else text


@lru_cache(maxsize=1000)
def _sections(number_format: str) -> tuple[_Format, ...]:
    """Take a format apart: for positive numbers, negative ones, zero (and text, which is not needed)."""
    sections = [_Format()]
    for token in _TOKEN.finditer(number_format[:_LONGEST_FORMAT]):
        section = sections[-1]
        kind = token.lastgroup
        if kind == "other" and token[0] == ";":
            sections.append(_Format())
        elif kind == "other" and token[0] == "/":  # a fraction, which is easier to read as a number
            section.digits = "@"
        elif kind in {"digits", "general"} and not section.digits:
            section.digits = token[0]
        elif kind == "date":
            section.dates += token[0].lower()
        elif kind == "elapsed":
            section.elapsed, section.dates = True, section.dates + token[0].lower()
        elif kind == "exponent":
            section.exponent = True
        elif kind in {"quoted", "escaped", "currency", "other"}:
            literal = token[kind]
            if section.digits:
                section.after += literal
            else:
                section.before += literal
    return tuple(sections[:3])


def _number(number: float, how: _Format) -> str:
    if how.digits[:1] not in {"0", "#", "?", "."}:
        return general(number)
    whole, _, decimals = how.digits.partition(".")
    places = min(len(decimals.rstrip(",")), _MOST_DECIMALS)
    if how.exponent:
        return f"{number:.{places}E}"
    exact = Decimal(f"{number:.15g}")
    if "%" in how.after or "%" in how.before:
        exact *= 100
    scaled = len(how.digits) - len(how.digits.rstrip(","))  # each comma at the end stands for three digits
    exact = exact.scaleb(-3 * scaled)
    with localcontext() as context:
        context.rounding = ROUND_HALF_UP
        text = f"{exact:{',' if ',' in whole.rstrip(',') else ''}.{places}f}"
    sure = len(decimals.rstrip("#,"))  # a "#" shows a digit only where there is one
    while places > sure and text.endswith("0"):
        text, places = text[:-1], places - 1
    text = text.removesuffix(".")
    if text.strip("-0.,") == "":
        text = text.removeprefix("-")
    zeros = whole.replace(",", "").count("0")
    return (
        text
        if "," in text
        else text[: text.startswith("-")] + text.lstrip("-").zfill(zeros + (places + 1 if "." in text else 0))
    )


def _date(number: float, how: _Format, *, since_1904: bool) -> str:
    """Return a date or time, "" for a number that is none."""
    letters = how.dates
    if how.elapsed:
        seconds = round(abs(number) * 86_400)
        hours, rest = divmod(seconds, 3600)
        clock = f"{'-' * (number < 0)}{hours}:{rest // 60:02d}"
        return f"{clock}:{rest % 60:02d}" if "s" in letters else clock
    # The first spreadsheets took 1900 for a leap year, so days before its March count differently.
    start = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 31) if number < 60 else datetime(1899, 12, 30)
    try:
        moment = start + timedelta(seconds=round(number * 86_400))
    except OverflowError:
        return ""
    if number < 0:
        return ""
    has_clock = "h" in letters or "s" in letters
    has_date = "d" in letters or "y" in letters or ("m" in letters and not has_clock) or "e" in letters
    clock = moment.strftime("%H:%M:%S" if "s" in letters else "%H:%M") if has_clock else ""
    if not has_date:
        return clock
    if "d" in letters or has_clock:
        day = moment.strftime("%Y-%m-%d")
    else:
        day = moment.strftime("%Y-%m" if "m" in letters else "%Y")
    return f"{day} {clock}".strip()

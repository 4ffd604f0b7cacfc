"""The numbers that Word shows before headings and list items but does not store: "2.3", "(a)", "第三章"."""

from __future__ import annotations

from dataclasses import dataclass, field

from lxml import etree

from keepstone.retrieval.loaders.xml_tree import child, local, number, value

_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
          (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_CHINESE_DIGITS = "零一二三四五六七八九"
_LEVELS = 9


@dataclass(slots=True)
class _Level:
    kind: str = "decimal"
    pattern: str = ""
    start: int = 1


@dataclass(slots=True)
class _List:
    levels: dict[int, _Level] = field(default_factory=dict)
    counts: list[int | None] = field(default_factory=lambda: [None] * _LEVELS)


class Numbering:
    """Counts along while a document is read.

    Args:
        root: the part numbering.xml, None where the document has none.
    """

    def __init__(self, root: etree._Element | None) -> None:
        abstract: dict[str, _List] = {}
        self._lists: dict[str, _List] = {}
        self._starts: dict[str, dict[int, int]] = {}
        self._used: set[str] = set()
        for element in root if root is not None else ():
            if local(element) == "abstractNum":
                abstract[value(element, "abstractNumId") or ""] = _List(_levels(element))
            elif local(element) == "num":
                identity = value(element, "numId") or ""
                self._lists[identity] = abstract.get(value(child(element, "abstractNumId")) or "", _List())
                self._starts[identity] = {
                    number(value(change, "ilvl"), 0): number(value(child(change, "startOverride")), 1)
                    for change in element
                    if local(change) == "lvlOverride" and child(change, "startOverride") is not None
                }

    def is_bullet(self, identity: str, level: int) -> bool:
        """Tell whether a level of a list shows a symbol rather than a number."""
        numbered = self._lists.get(identity)
        return numbered is None or numbered.levels.get(level, _Level("bullet")).kind in {"bullet", "none"}

    def next_label(self, identity: str, level: int) -> str:
        """Count one paragraph of a list and return the label that Word shows before it, "" for none or a symbol."""
        numbered = self._lists.get(identity)
        level = min(max(level, 0), _LEVELS - 1)
        if numbered is None or level not in numbered.levels:
            return ""
        if identity not in self._used:
            self._used.add(identity)
            for changed, start in self._starts.get(identity, {}).items():
                if changed < _LEVELS:
                    numbered.counts[changed] = start - 1
        current = numbered.counts[level]
        numbered.counts[level] = numbered.levels[level].start if current is None else current + 1
        for deeper in range(level + 1, _LEVELS):
            numbered.counts[deeper] = None
        if self.is_bullet(identity, level):
            return ""
        label = numbered.levels[level].pattern
        for index in range(level, -1, -1):
            shape = numbered.levels.get(index, _Level())
            count = numbered.counts[index]
            label = label.replace(f"%{index + 1}", spelled(shape.start if count is None else count, shape.kind))
        return label.strip()[:40]


def _levels(abstract: etree._Element) -> dict[int, _Level]:
    levels = {}
    for element in abstract:
        if local(element) == "lvl":
            levels[number(value(element, "ilvl"), 0)] = _Level(
                kind=value(child(element, "numFmt")) or "decimal",
                pattern=value(child(element, "lvlText")) or "",
                start=number(value(child(element, "start")), 1),
            )
    return levels


def spelled(count: int, kind: str) -> str:
    """Return a number as a `w:numFmt` spells it; formats that are not known come out in digits."""
    if kind in {"lowerLetter", "upperLetter"}:
        letters = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 + 1) if 0 < count < 1000 else str(count)
        return letters.upper() if kind == "upperLetter" else letters
    if kind in {"lowerRoman", "upperRoman"}:
        roman = _roman(count)
        return roman.upper() if kind == "upperRoman" else roman
    if kind == "decimalZero":
        return f"{count:02d}"
    if kind.startswith(
        ("chineseCounting", "ideographTraditional", "taiwaneseCounting", "japaneseCounting", "chineseLegal")
    ):
        return _chinese(count)
    return str(count)


def _roman(count: int) -> str:
    if not 0 < count < 4000:
        return str(count)
    text = ""
    for size, letters in _ROMAN:
        while count >= size:
            text, count = text + letters, count - size
    return text


def _chinese(count: int) -> str:
    if not 0 < count < 1000:
        return str(count)
    hundreds, tens, ones = count // 100, count // 10 % 10, count % 10
    text = f"{_CHINESE_DIGITS[hundreds]}百" if hundreds else ""
    if tens:
        text += ("" if tens == 1 and not hundreds else _CHINESE_DIGITS[tens]) + "十"
    elif hundreds and ones:
        text += "零"
    return text + (_CHINESE_DIGITS[ones] if ones else "")

"""The text of one Word paragraph, from its runs, fields, links, formulas and change marks."""

from __future__ import annotations

from dataclasses import dataclass, field

from lxml import etree

from keepstone.retrieval.loaders.xml_tree import child, local, value

_SKIPPED_NAMES = """
    pPr rPr del moveFrom delText instrText sectPr proofErr bookmarkStart bookmarkEnd commentRangeStart commentRangeEnd
    commentReference annotationRef fldData sdtPr sdtEndPr ctrlPr rt
"""
_SKIPPED = frozenset(_SKIPPED_NAMES.split())
_LITERAL = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": "\t"}
# Formulas in Office's own markup become one readable line.
_FORMULA = {"den": "/", "sup": "^", "sub": "_", "rad": "√"}


@dataclass(slots=True)
class ParagraphText:
    """What one paragraph holds."""

    text: str = ""
    pages_before: int = 0
    """Page ends before its first character."""
    pages_inside: int = 0
    """Page ends after that."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """Kind (`footnote`, `endnote`) and id of the notes it refers to."""
    boxes: list[etree._Element] = field(default_factory=list)
    """Contents of the text boxes that hang on it."""


def paragraph_text(paragraph: etree._Element) -> ParagraphText:
    """Return the text of a `w:p`: insertions accepted, deletions gone, fields by their result."""
    found = ParagraphText()
    parts: list[str] = []
    stack: list[etree._Element] = list(reversed(paragraph))
    while stack:
        element = stack.pop()
        kind = local(element)
        if not kind or kind in _SKIPPED:
            continue
        text = _own_text(element, kind)
        if text is not None:
            parts.append(text)
        elif not _noted(element, kind, found, has_text=any(part.strip() for part in parts)):
            if kind in _FORMULA and len(element):
                parts.append(_FORMULA[kind])
            # Of alternatives, the later ones say the same once more.
            stack.extend(list(element)[:1] if kind == "AlternateContent" else reversed(element))
    found.text = "".join(parts)
    return found


def is_bold_line(paragraph: etree._Element, text: str) -> bool:
    """Tell whether a paragraph is a short line all in bold: what people who know no styles set as a heading."""
    line = text.strip()
    if not 3 <= len(line) <= 90 or "\n" in line or line[-1] in ".,;:!。，；：！" or not any(map(str.isalpha, line)):
        return False
    runs = [run for run in paragraph.iter("{*}r") if any((t.text or "").strip() for t in run.iterchildren("{*}t"))]
    return bool(runs) and all(_is_bold(run) for run in runs)


def _is_bold(run: etree._Element) -> bool:
    bold = child(run, "rPr", "b")
    return bold is not None and value(bold) not in {"0", "false", "off"}


def _own_text(element: etree._Element, kind: str) -> str | None:
    """Return the characters that an element stands for, None when it is a container."""
    if kind == "t":
        return element.text or ""
    if kind in _LITERAL:
        return "" if value(element, "type") in {"page", "column"} else _LITERAL[kind]
    return _symbol(value(element, "char")) if kind == "sym" else None


def _noted(element: etree._Element, kind: str, found: ParagraphText, *, has_text: bool) -> bool:
    """Take down what is no text but belongs to the paragraph; return whether it was such."""
    if kind == "lastRenderedPageBreak":
        found.pages_inside += has_text
        found.pages_before += not has_text
    elif kind in {"footnoteReference", "endnoteReference"}:
        found.notes.append((kind.removesuffix("Reference"), value(element, "id") or ""))
    elif kind == "txbxContent":
        found.boxes.append(element)
    else:
        return False
    return True


def _symbol(code: str | None) -> str:
    """Return a character of a symbol font; most are ornaments in the private area, of which only bullets are common."""
    try:
        point = int(code or "", 16)
    except ValueError:
        return ""
    return chr(point) if 0x20 <= point < 0xD800 else ""

"""The text of a presentation's shapes: paragraphs with their list markers, and the numbers behind charts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from lxml import etree

from keepstone.retrieval.loaders.writer import tidy
from keepstone.retrieval.loaders.xlsx_numbers import spelled
from keepstone.retrieval.loaders.xml_tree import child, local, number

_SKIPPED = frozenset({"pPr", "rPr", "endParaRPr", "txBodyPr", "Fallback"})
_AXIS = ("tx", "cat", "val", "xVal", "yVal")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph of a shape."""

    text: str
    depth: int = 0
    marker: str = ""
    """Of a list item, "" for none."""


def paragraphs(body: etree._Element | None, *, listed: bool = False) -> Iterator[Paragraph]:
    """Yield the paragraphs with text of a `txBody`.

    Args:
        body: the element.
        listed: whether they are list items unless they say otherwise, as in a layout's placeholder for content.
    """
    counts = [0] * 9
    for element in body.iterchildren("{*}p") if body is not None else ():
        text = tidy(_text(element))
        if not text:
            continue
        properties = child(element, "pPr")
        depth = min(max(number(None if properties is None else properties.get("lvl"), 0), 0), 8)
        marks = {local(mark) for mark in properties} if properties is not None else set()
        automatic = child(properties, "buAutoNum")
        if automatic is not None:
            counts[depth] = max(counts[depth] + 1, number(automatic.get("startAt"), 1))
            marker = f"{counts[depth]}."
        else:
            counts[depth] = 0
            marker = "-" if "buNone" not in marks and (listed or "buChar" in marks) else ""
        counts[depth + 1 :] = [0] * (8 - depth)
        yield Paragraph(text, depth, marker)


def shape_text(shape: etree._Element) -> str:
    """Return the text of a shape or table cell, a line for each paragraph."""
    return "\n".join(found.text for found in paragraphs(child(shape, "txBody")))


def chart_rows(root: etree._Element | None) -> tuple[str, list[list[str]]]:
    """Return a chart's title and its numbers: a header of the series' names, then a row for each category."""
    chart = child(root, "chart")
    title = " ".join(found.text for found in paragraphs(child(chart, "title", "tx", "rich")))
    header = [""]
    columns: list[list[str]] = [[]]
    for series in chart.iter("{*}ser") if chart is not None else ():
        points = {local(axis): _points(axis) for axis in series if local(axis) in _AXIS}
        header.append(" ".join(points.get("tx", ())))
        columns[0] = columns[0] or points.get("cat") or points.get("xVal") or []
        columns.append(points.get("val") or points.get("yVal") or [])
    return title, [header, *map(list, zip_longest(*columns, fillvalue=""))] if len(columns) > 1 else []


def _points(axis: etree._Element) -> list[str]:
    number_format = next(axis.iter("{*}formatCode"), None)
    texts = ((point.text or "").strip() for point in axis.iter("{*}v"))
    return list(texts) if number_format is None else [spelled(text, number_format.text or "") for text in texts]


def _text(paragraph: etree._Element) -> str:
    """Return the characters of an `a:p`: runs, line breaks, fields but the slide's number, formulas."""
    parts: list[str] = []
    stack = list(reversed(paragraph))
    while stack:
        element = stack.pop()
        kind = local(element)
        if kind == "br":
            parts.append("\n")
        elif kind == "t":
            parts.append(element.text or "")
        elif kind not in _SKIPPED and not (kind == "fld" and element.get("type") == "slidenum"):
            stack.extend(reversed(element))
    return "".join(parts)

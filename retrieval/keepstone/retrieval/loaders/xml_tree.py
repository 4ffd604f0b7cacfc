"""Steps through XML trees by names without namespaces: transitional and strict Office files use different ones."""

from __future__ import annotations

from lxml import etree


def local(element: etree._Element) -> str:
    """Return an element's name without its namespace."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def child(element: etree._Element | None, *path: str) -> etree._Element | None:
    """Return the first descendant along a path of names, None where it breaks off."""
    for name in path:
        if element is None:
            return None
        element = next((one for one in element if local(one) == name), None)
    return element


def children(element: etree._Element | None, *path: str) -> list[etree._Element]:
    """Return what stands in the first descendant along a path of names."""
    found = child(element, *path)
    return [] if found is None else list(found)


def value(element: etree._Element | None, name: str = "val") -> str | None:
    """Return an attribute by its name without namespace."""
    if element is None:
        return None
    return next((text for key, text in element.attrib.items() if key.rpartition("}")[2] == name), None)


def number(text: str | None, default: int) -> int:
    """Return a small number from an attribute."""
    digits = (text or "").strip()
    return int(digits) if digits.lstrip("-").isdecimal() and len(digits) < 8 else default


def relation_id(element: etree._Element) -> str:
    """Return the id under which an element of an Office file refers to another part, "" for none."""
    return next((text for key, text in element.attrib.items() if key.endswith("}id")), "")

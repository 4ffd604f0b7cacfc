"""Foreign JSON Schemas, made fit for decoding a model's calls under them: flat, bounded, and of known parts only.

A schema comes from another program. References are resolved, so that it can be put inside another one; patterns,
formats and everything else that could cost the decoder much are left out. The server still checks what it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepstone.platform.errors import InvalidInput

MAX_PARTS = 300
MAX_DEPTH = 12
MAX_PROPERTIES = 32
MAX_CHOICES = 64
_TEXT_CHARS = 200
_STRING_CHARS = 500
_ITEMS = 20
_TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def fit_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with its references resolved and its sizes bounded.

    Raises:
        InvalidInput: it is no object's, refers to elsewhere, or is too deep or too wide.
    """
    fitted = _Fitter(schema).fit(schema, 0)
    if fitted.get("type") != "object":
        raise _unfit("is not that of an object")
    return fitted


class _Fitter:
    """Builds one schema anew.

    Args:
        root: the whole foreign schema, which references point into.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._parts = 0

    def fit(self, schema: Any, depth: int) -> dict[str, Any]:
        """Return one part, `depth` levels below the root."""
        self._parts += 1
        if self._parts > MAX_PARTS or depth > MAX_DEPTH:
            raise _unfit("has too many parts")
        if schema is True:
            schema = {}
        if not isinstance(schema, Mapping):
            raise _unfit("has a part that is no schema")
        if "$ref" in schema:
            return self.fit(_resolved(schema["$ref"], self._root), depth + 1)
        described = schema.get("description")
        meaning = {"description": " ".join(described.split())[:_TEXT_CHARS]} if isinstance(described, str) else {}
        return meaning | self._shape(schema, depth)

    def _shape(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        for choice in ("enum", "const"):
            if choice in schema:
                return {choice: _choice(schema[choice])}
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return {"anyOf": [self.fit(each, depth + 1) for each in _few(schema[union])]}
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            return {"anyOf": [self._of_type(each, schema, depth) for each in _few(kind)]}
        return self._of_type(kind, schema, depth)

    def _of_type(self, kind: Any, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if not isinstance(kind, str) or kind not in _TYPES:
            raise _unfit(f"has a part of the type {str(kind)[:40]!r}")
        fitted: dict[str, Any] = {"type": kind}
        if kind == "string":
            fitted["maxLength"] = _least(schema.get("maxLength"), _STRING_CHARS)
        elif kind == "array":
            fitted["items"] = self.fit(schema.get("items", {}), depth + 1)
            fitted["maxItems"] = _least(schema.get("maxItems"), _ITEMS)
        elif kind == "object":
            fitted |= self._of_object(schema, depth)
        else:
            fitted |= {bound: schema[bound] for bound in _BOUNDS if isinstance(schema.get(bound), int | float)}
        return fitted

    def _of_object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        if not isinstance(properties, Mapping) or len(properties) > MAX_PROPERTIES:
            raise _unfit("has too many properties")
        if any(len(name) > _TEXT_CHARS for name in properties):
            raise _unfit("has a property with a long name")
        required = schema.get("required", [])
        return {
            "properties": {name: self.fit(each, depth + 1) for name, each in properties.items()},
            "required": [name for name in properties if name in required] if isinstance(required, list) else [],
            "additionalProperties": False,
        }


def _resolved(reference: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        raise _unfit("refers to another schema")
    found: Any = root
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            raise _unfit("refers to what is not there")
        found = found[name]
    return found


def _few(choices: Any) -> list[Any]:
    if not isinstance(choices, list) or not 0 < len(choices) <= MAX_CHOICES:
        raise _unfit("has too many choices, or none")
    return choices


def _choice(value: Any) -> Any:
    for each in _few(value) if isinstance(value, list) else [value]:
        if not isinstance(each, str | int | float | bool | None) or len(str(each)) > _TEXT_CHARS:
            raise _unfit("has a choice that is no short value")
    return value


def _least(given: Any, limit: int) -> int:
    return min(given, limit) if isinstance(given, int) and given >= 0 else limit


def _unfit(why: str) -> InvalidInput:
    return InvalidInput(f"The schema of the tool's arguments {why}", fix="Leave the tool out of mcp.servers")

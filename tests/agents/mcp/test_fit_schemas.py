"""Foreign schemas: what comes out can be decoded under, whatever went in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.agents.mcp.schemas import MAX_PARTS, fit_schema
from keepstone.platform.errors import InvalidInput

NAMES = ["type", "properties", "items", "anyOf", "enum", "$ref", "required", "pattern", "description", "maxLength"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["object", "string", "#/properties"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)


def test_references_are_resolved_and_strings_and_lists_bounded() -> None:
    fitted = fit_schema(
        {
            "type": "object",
            "$defs": {"place": {"type": "object", "properties": {"name": {"type": "string", "pattern": "(a+)+$"}}}},
            "properties": {
                "where": {"$ref": "#/$defs/place"},
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}},
                "when": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}], "title": "When"},
            },
            "required": ["where", "gone"],
        }
    )
    assert fitted == {
        "type": "object",
        "properties": {
            "where": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": 500}},
                "required": [],
                "additionalProperties": False,
            },
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}, "maxItems": 20},
            "when": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
        },
        "required": ["where"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object", "properties": {"a": {"$ref": "https://evil.example/schema.json"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}},
        {"type": "object", "properties": {"a": {"type": "decimal"}}},
        {"type": "object", "properties": {"a": {"enum": [{"not": "short"}]}}},
        {"type": "object", "properties": {str(number): {} for number in range(100)}},
    ],
)
def test_what_cannot_be_bounded_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="tool"):
        fit_schema(schema)


@given(JSON)
def test_any_json_is_fitted_or_refused(schema: Any) -> None:
    """No schema ends in another error; what comes out has no references and is not large."""
    try:
        fitted = fit_schema({"type": "object", "properties": {"a": schema}})
    except InvalidInput:
        return
    assert '"$ref"' not in json.dumps(fitted)
    assert json.dumps(fitted).count('"type"') <= MAX_PARTS


def test_references_cannot_blow_a_schema_up() -> None:
    """A few hundred characters that stand for a million parts."""
    definitions = {f"d{level}": {"anyOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 60} for level in range(3)} | {
        "d3": {"type": "null"}
    }
    with pytest.raises(InvalidInput, match="too many parts"):
        fit_schema({"type": "object", "$defs": definitions, "properties": {"a": {"$ref": "#/$defs/d0"}}})

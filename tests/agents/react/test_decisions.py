"""A decision's schema bounds all that the model may write, and what is no decision is told as such."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from keepstone.agents.react.decisions import bounded, decision_schema, read_decision
from keepstone.agents.tools.base import Observation, Tool
from keepstone.agents.tools.standard import STANDARD_TOOLS

TOOLS = {tool.name: tool for tool in STANDARD_TOOLS}
SEARCH = {"tool": "search", "arguments": {"query": "warranty"}}


def foreign(parameters: dict[str, Any]) -> Tool:
    async def run(_context: Any, _arguments: Any) -> Observation:
        return Observation("")

    return Tool(name="foreign", description="", parameters=parameters, check=dict, run=run)


@pytest.mark.parametrize(
    "decision",
    [
        {"thought": "", "calls": [SEARCH]},
        {"thought": "t", "calls": [SEARCH, {"tool": "calculator", "arguments": {"expression": "1"}}]},
        {"thought": "t", "calls": [{"tool": "list_documents", "arguments": {}}]},
        {"thought": "t", "answer": True},
    ],
)
def test_decisions_fit_their_schema(decision: dict[str, Any]) -> None:
    jsonschema.validate(decision, decision_schema(STANDARD_TOOLS))
    assert read_decision(json.dumps(decision), TOOLS).thought == decision["thought"]


@pytest.mark.parametrize(
    "decision",
    [
        {"thought": "t"},
        {"thought": "t", "answer": False},
        {"thought": "t", "answer": True, "calls": [SEARCH]},
        {"thought": "t", "calls": []},
        {"thought": "t", "calls": [SEARCH] * 4},
        {"thought": "t" * 129, "calls": [SEARCH]},
        {"thought": "t", "calls": [{"tool": "search", "arguments": {"query": "x" * 129}}]},
        {"thought": "t", "calls": [{"tool": "search", "arguments": {"expression": "1"}}]},
        {"thought": "t", "calls": [{"tool": "delete_everything", "arguments": {}}]},
    ],
)
def test_nothing_else_fits(decision: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(decision, decision_schema(STANDARD_TOOLS))


def test_every_string_and_list_ends_somewhere() -> None:
    """A model that repeats itself does so for as long as it may."""

    def check(schema: Any) -> None:
        if isinstance(schema, list):
            for each in schema:
                check(each)
        if isinstance(schema, dict):
            if schema.get("type") == "string":
                assert "maxLength" in schema
            if schema.get("type") == "array":
                assert "maxItems" in schema
            for each in schema.values():
                check(each)

    listed = {"type": "object", "properties": {"names": {"type": "array", "items": {"type": "string"}}}}
    check(decision_schema([*STANDARD_TOOLS, foreign(listed)]))


def test_definitions_of_foreign_schemas_are_found() -> None:
    """References are read from the root of the whole schema, where two tools may use one name."""
    parameters = {
        "type": "object",
        "properties": {"place": {"$ref": "#/$defs/Place"}},
        "$defs": {"Place": {"type": "object", "properties": {"type": {"enum": ["city"]}}, "required": ["type"]}},
    }
    schema = decision_schema([foreign(parameters)])
    call = {"tool": "foreign", "arguments": {"place": {"type": "city"}}}
    jsonschema.validate({"thought": "", "calls": [call]}, schema)
    call["arguments"] = {"place": {"type": "moon"}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"thought": "", "calls": [call]}, schema)
    assert parameters["$defs"]  # the tool's own schema stays as it was


def test_a_bound_that_is_there_stays() -> None:
    assert bounded({"type": "string", "maxLength": 7}, "t") == {"type": "string", "maxLength": 7}
    assert bounded({"type": "string", "enum": ["a"]}, "t") == {"type": "string", "enum": ["a"]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"thought": "cut o',
        '{"thought": "t"}',
        '{"calls": [{"tool": "nothing"}]}',
        '{"calls": ["search"]}',
        '{"calls": [{"tool": "search", "arguments": "warranty"}]}',
        '{"calls": {}}',
    ],
)
def test_what_is_no_decision_says_why(text: str) -> None:
    """Servers that are not ours may not keep to the schema."""
    with pytest.raises(ValueError, match=r"[a-z]"):
        read_decision(text, TOOLS)


def test_no_nul_gets_through() -> None:
    """PostgreSQL keeps none in a text."""
    decision = read_decision(f'{{"thought": "a\\u0000b", "calls": [{json.dumps(SEARCH)}]}}', TOOLS)
    assert decision.thought == "ab"
    assert decision.calls[0].key == 'search {"query": "warranty"}'


def test_control_characters_are_read_as_they_are() -> None:
    """JSON forbids them in strings, and xgrammar lets them through: the step is not lost for that."""
    decision = read_decision('{"thought":"a\x18b\x00","calls":[{"tool":"search","arguments":{"query":"c\td"}}]}', TOOLS)
    assert decision.thought == "a\x18b"
    assert decision.calls[0].arguments == {"query": "c\td"}

"""What the model may decide at a step, as a JSON Schema made of the tools, and how a decision is read.

    {"thought": "...", "calls": [{"tool": "search", "arguments": {"query": "..."}}]}     one to three calls
    {"thought": "...", "answer": true}                                                    enough was found

The engine decodes under the schema, so a model of any size can write nothing else. Every string and list is bounded:
small models repeat themselves for as long as they may.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from keepstone.agents.tools.base import DECODED_CHARS, Tool

MAX_CALLS: Final = 3
MAX_THOUGHT_CHARS: Final = DECODED_CHARS
STEP_TOKENS: Final = 640
"""Longest decision, in tokens."""
_MAX_STRING = 400
_MAX_ITEMS = 8


@dataclass(frozen=True, slots=True)
class Call:
    """A tool to be called."""

    tool: str
    arguments: dict[str, Any]

    @property
    def key(self) -> str:
        """The same text for the same call."""
        return f"{self.tool} {json.dumps(self.arguments, sort_keys=True, ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class Decision:
    """A thought and what follows from it; no calls means to answer."""

    thought: str
    calls: tuple[Call, ...]


def decision_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """Return the JSON Schema of a decision."""
    shared: dict[str, Any] = {}
    calls = [_call_schema(tool, shared) for tool in tools]
    thought = {"type": "string", "maxLength": MAX_THOUGHT_CHARS}
    acts = {"type": "array", "items": {"anyOf": calls}, "minItems": 1, "maxItems": MAX_CALLS}
    schema = {"anyOf": [_object(thought=thought, calls=acts), _object(thought=thought, answer={"const": True})]}
    return schema | ({"$defs": shared} if shared else {})


def read_decision(text: str, tools: Mapping[str, Tool]) -> Decision:
    """Read what the model wrote; servers that are not ours may not keep to the schema.

    Raises:
        ValueError: it is no decision; the message says why.
    """
    try:
        # Not strict: xgrammar lets control characters through in strings of bounded length.
        value = json.loads(text.replace("\\u0000", "").replace("\0", ""), strict=False)
    except ValueError as error:
        raise ValueError("That was no complete JSON object") from error
    if not isinstance(value, dict):
        raise ValueError("That was no JSON object")  # noqa: TRY004 - what a model wrote is a value
    thought = str(value.get("thought") or "")
    if value.get("answer") is True:
        return Decision(thought, ())
    listed = value.get("calls")
    if not isinstance(listed, list) or not listed:
        raise ValueError('There was neither "calls" nor "answer": true')
    return Decision(thought, tuple(_read_call(each, tools) for each in listed[:MAX_CALLS]))


def _read_call(value: Any, tools: Mapping[str, Tool]) -> Call:
    if not isinstance(value, dict) or value.get("tool") not in tools:
        raise ValueError(f"A call names one of the tools: {', '.join(tools)}")
    arguments = value.get("arguments")
    if not isinstance(arguments, dict):
        raise ValueError(f"The arguments of {value['tool']} are no JSON object")  # noqa: TRY004
    return Call(value["tool"], arguments)


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _call_schema(tool: Tool, shared: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a call; definitions that the tool's schema refers to go into `shared`, under its name."""
    parameters = dict(tool.parameters)
    for name, each in dict(parameters.pop("$defs", {})).items():
        shared[f"{tool.name}.{name}"] = bounded(each, tool.name)
    return _object(tool={"const": tool.name}, arguments=bounded(parameters, tool.name))


def bounded(schema: Any, owner: str) -> Any:
    """Return a schema whose strings and lists end somewhere, and whose references point to the owner's definitions."""
    if isinstance(schema, list):
        return [bounded(each, owner) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _inner(key, value, owner) for key, value in schema.items() if key not in ("$schema", "$id", "default")}
    if kept.get("type") == "string" and not {"maxLength", "enum", "const", "pattern", "format"} & kept.keys():
        kept["maxLength"] = _MAX_STRING
    if kept.get("type") == "array":
        kept.setdefault("maxItems", _MAX_ITEMS)
    if kept.get("type") == "object" and "properties" in kept:
        kept.setdefault("additionalProperties", False)
    return kept


def _inner(key: str, value: Any, owner: str) -> Any:
    if key == "$ref" and isinstance(value, str):
        return value.replace("#/$defs/", f"#/$defs/{owner}.")
    if key == "properties" and isinstance(value, dict):
        return {name: bounded(each, owner) for name, each in value.items()}
    return value if key in ("enum", "const", "required") else bounded(value, owner)

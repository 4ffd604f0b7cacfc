"""The `input` of a response: messages, and what the caller's functions returned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from keepstone.platform.errors import InvalidInput
from keepstone.platform.serving.engine import Message

_TEXTS: Final = ("input_text", "output_text", "text")
# Items of earlier responses that clients send back, and that say nothing new.
_SKIPPED: Final = ("reasoning", "file_search_call")
_KNOWN: Final = ("message", "function_call", "function_call_output", *_SKIPPED)


@dataclass(slots=True)
class Said:
    """What the input says."""

    turns: list[Message] = field(default_factory=list)
    """The messages of the user and the assistant."""
    instructions: list[str] = field(default_factory=list)
    """Messages of the system and the developer."""
    calls: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    """Functions called since the last question, by the call's id: name and arguments."""
    outputs: dict[str, str] = field(default_factory=dict)
    """What they returned."""

    @property
    def question(self) -> str | None:
        """The last message of the user; None where there is none."""
        return next((turn.content for turn in reversed(self.turns) if turn.role == "user"), None)

    @property
    def before(self) -> tuple[Message, ...]:
        """The messages before the question."""
        last = max((at for at, turn in enumerate(self.turns) if turn.role == "user"), default=len(self.turns))
        return tuple(self.turns[:last])


def read_input(given: str | Sequence[Mapping[str, Any]]) -> Said:
    """Read the input.

    Raises:
        InvalidInput: it holds something else than text, or ends with an answer rather than a question.
    """
    said = Said()
    if isinstance(given, str):
        said.turns.append(Message("user", given))
        return said
    for number, item in enumerate(given):
        kind = item.get("type") or "message"
        if kind == "message":
            _read_message(said, item, number)
        elif kind == "function_call":
            said.calls[_text(item, "call_id", number)] = (_text(item, "name", number), _arguments(item, number))
        elif kind == "function_call_output":
            said.outputs[_text(item, "call_id", number)] = _content(item.get("output"), f"input.{number}.output")
        elif kind not in _SKIPPED:
            raise InvalidInput(f"input.{number} is of the type {str(kind)[:40]!r}", fix=f"Valid: {', '.join(_KNOWN)}")
    if said.turns and said.turns[-1].role == "assistant" and not said.outputs:
        raise InvalidInput("The last message is not a question", fix="End input with a message of the role 'user'")
    return said


def _read_message(said: Said, item: Mapping[str, Any], number: int) -> None:
    role, text = item.get("role"), _content(item.get("content"), f"input.{number}.content")
    if role in ("system", "developer"):
        said.instructions.append(text)
    elif role == "assistant":
        said.turns.append(Message("assistant", text))
    elif role == "user":
        said.turns.append(Message("user", text))
        said.calls.clear()
        said.outputs.clear()
    else:
        raise InvalidInput(f"input.{number} has no known role", fix="Valid: user, assistant, system, developer")


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") in _TEXTS]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "\n".join(str(text) for text in texts)
    raise InvalidInput(f"{where} is not text", fix="Images, audio and files are not taken here")


def _arguments(item: Mapping[str, Any], number: int) -> dict[str, Any]:
    try:
        arguments = json.loads(_text(item, "arguments", number) or "{}")
    except ValueError as error:
        raise InvalidInput(f"input.{number}.arguments is not JSON", fix="Send the call back as it came") from error
    if not isinstance(arguments, dict):
        raise InvalidInput(f"input.{number}.arguments is not a JSON object", fix="Send the call back as it came")
    return arguments


def _text(item: Mapping[str, Any], name: str, number: int) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise InvalidInput(f"input.{number}.{name} is missing or not text", fix="Send the item back as it came")
    return value

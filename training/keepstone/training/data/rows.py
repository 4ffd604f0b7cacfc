"""The rows of a dataset, as they stand in its JSON Lines files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from keepstone.platform.errors import InvalidInput

Side = Literal["train", "test"]
Source = Literal["generated", "feedback"]
Kind = Literal["written", "sentence", "keywords", "heading", "asked"]
Text = Annotated[str, Field(min_length=1)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


R = TypeVar("R", bound=_Row)


class RetrievalRow(_Row):
    """A question, the passage that answers it, and passages that do not."""

    id: str
    question: Text
    answer: str
    """In the passage's words; empty where feedback named the passage alone."""
    positive: Text
    """The passage as it is encoded: context, line break, text. Of the kind `sentence`: without that sentence."""
    negatives: tuple[Text, ...]
    """As they are encoded. None overlaps the positive's span or nearly equals it, and none holds the answer."""
    positive_chunk: int
    """Id of the positive's chunk in the collection."""
    document: str
    """sha256 of the bytes of the positive's document."""
    language: str | None
    source: Source
    kind: Kind
    """`written` by the language model; a `sentence`, its `keywords`, or a `heading` of the documents; `asked` by a
    person."""


class ChatMessage(_Row):
    """One turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRow(_Row):
    """A whole exchange; the last message is the answer to be learned, under the prompt that answering uses."""

    id: str
    messages: tuple[ChatMessage, ...] = Field(min_length=2)
    document: str
    """sha256 of the bytes of the document that the answer stands in."""
    source: Source

    @model_validator(mode="after")
    def _ends_with_the_answer(self) -> Self:
        if self.messages[-1].role != "assistant":
            raise ValueError("the last message is not the assistant's")
        return self


class PreferenceRow(_Row):
    """Two answers to the same prompt, of which people want the one."""

    id: str
    messages: tuple[ChatMessage, ...]
    """The prompt."""
    chosen: str
    rejected: str
    source: Literal["feedback"] = "feedback"


def row_id(*parts: object) -> str:
    """Return a name of 16 hex digits that depends on these parts alone."""
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "replace")).hexdigest()[:16]


def to_lines(rows: Iterable[_Row]) -> bytes:
    """Return rows as JSON Lines."""
    return "".join(f"{row.model_dump_json()}\n" for row in rows).encode("utf-8", "replace")


def read_rows(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield the rows of a file.

    Raises:
        InvalidInput: a line is no such row; the message names it.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise InvalidInput(
                    f"Line {number} of {path.parent.name}/{path.name} is damaged: {where} {first['msg']}",
                    fix="Build the dataset again: `keepstone data build`",
                ) from error

"""The rows of a dataset folder, as recipes read them: JSON Lines, a row a line (`training.data` writes them)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from keepstone.platform.errors import InvalidInput, NotFound, did_you_mean

Part = Literal["train", "test"]
Text = Annotated[str, Field(min_length=1)]
CARD = "card.json"


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RetrievalRow(_Row):
    """A question, the passage that answers it, and passages that do not though they look like it."""

    question: Text
    positive: Text
    negatives: tuple[Text, ...] = ()


class Message(_Row):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRow(_Row):
    """A conversation; its last message is the answer to learn."""

    messages: tuple[Message, ...] = Field(min_length=2)


_R = TypeVar("_R", bound=_Row)


def retrieval_rows(dataset: Path, part: Part = "train") -> list[RetrievalRow]:
    """Return the rows of `retrieval/PART.jsonl`.

    Raises:
        InvalidInput: there are none, or a line is damaged.
    """
    return _read(dataset, f"retrieval/{part}.jsonl", RetrievalRow)


def chat_rows(dataset: Path, part: Part = "train") -> list[ChatRow]:
    """Return the rows of `chat/PART.jsonl`, each of which ends with the assistant's message.

    Raises:
        InvalidInput: there are none, or a line is damaged.
    """
    rows = _read(dataset, f"chat/{part}.jsonl", ChatRow)
    wrong = next((place for place, row in enumerate(rows, 1) if row.messages[-1].role != "assistant"), None)
    if wrong is not None:
        raise InvalidInput(
            f"Row {wrong} of chat/{part}.jsonl does not end with the assistant's answer", fix="Build the dataset anew"
        )
    return rows


def find_dataset(datasets: Path, name: str) -> Path:
    """Return the folder of a dataset: the one of that name, else the newest whose name begins so.

    Raises:
        NotFound: there is none.
    """
    folders = sorted((card.parent for card in datasets.glob(f"*/{CARD}")), key=lambda path: path.stat().st_mtime)
    for folder in reversed(folders):
        if folder.name == name or folder.name.rpartition("-")[0] == name:
            return folder
    known = [folder.name for folder in folders]
    fix = did_you_mean(name, known) if known else "There are none yet"
    raise NotFound(f"There is no dataset {name!r}", fix=fix)


def card_hash(dataset: Path) -> str:
    """Return the sha256 of the dataset's card, which holds the hashes of its files."""
    return hashlib.sha256((dataset / CARD).read_bytes()).hexdigest()


def _read(dataset: Path, name: str, row: type[_R]) -> list[_R]:
    path = dataset / name
    rows = list(_lines(path, name, row)) if path.is_file() else []
    if not rows:
        raise InvalidInput(f"The dataset {dataset.name} has no rows in {name}", fix="Choose or build another dataset")
    return rows


def _lines(path: Path, name: str, row: type[_R]) -> Iterator[_R]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                yield row.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise InvalidInput(
                    f"Line {number} of {name} is damaged: {where} {first['msg']}".replace("  ", " "),
                    fix="Build the dataset anew",
                ) from error

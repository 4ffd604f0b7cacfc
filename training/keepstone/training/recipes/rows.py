"""The rows that recipes learn from: those of the training side of a dataset whose files are as they were built."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from keepstone.platform.errors import InvalidInput
from keepstone.training.data.rows import ChatRow, RetrievalRow
from keepstone.training.data.store import open_dataset

_R = TypeVar("_R")


def retrieval_rows(dataset: Path) -> list[RetrievalRow]:
    """Return the questions to train with.

    Raises:
        InvalidInput: there are none, or the dataset was changed.
    """
    return _some(dataset, "questions", open_dataset(dataset).retrieval("train"))


def chat_rows(dataset: Path) -> list[ChatRow]:
    """Return the conversations to train with.

    Raises:
        InvalidInput: there are none, or the dataset was changed.
    """
    return _some(dataset, "conversations", open_dataset(dataset).chat("train"))


def _some(dataset: Path, what: str, rows: Iterable[_R]) -> list[_R]:
    found = list(rows)
    if not found:
        raise InvalidInput(f"The dataset {dataset.name} has no {what} to learn from", fix="Choose or build another")
    return found

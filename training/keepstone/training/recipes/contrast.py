"""What the recipes that learn from right and wrong passages share: their options, and a table of their examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from keepstone.platform.errors import InvalidInput
from keepstone.training.recipes.base import TrainingConfig
from keepstone.training.recipes.rows import retrieval_rows

_MIN_ROWS = 8
_MIN_PASSAGES = 4


class ContrastConfig(TrainingConfig):
    """What these recipes can be told."""

    negatives: int = Field(default=1, ge=0, le=32)
    """Negatives a question, the hardest first. Where a row has fewer, passages of other rows stand in."""
    max_tokens: int | None = Field(default=None, ge=16, le=8192)
    """How much of each text is read while training; unset, as much as the model reads."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question with its right passage and as many wrong ones as were asked for."""

    question: str
    positive: str
    negatives: tuple[str, ...]


def examples(dataset: Path, config: ContrastConfig) -> list[Example]:
    """Return the examples of a dataset.

    Raises:
        InvalidInput: there are too few, or about too few passages.
    """
    return list(_examples(dataset, config))


def _examples(dataset: Path, config: ContrastConfig) -> Iterator[Example]:
    rows = retrieval_rows(dataset)
    passages = {row.positive for row in rows}
    if len(rows) < _MIN_ROWS or len(passages) < _MIN_PASSAGES:
        raise InvalidInput(
            f"{len(rows)} questions about {len(passages)} passages are too few to learn from",
            fix=f"Build a dataset with {_MIN_ROWS} questions about {_MIN_PASSAGES} passages or more",
        )
    chance = np.random.default_rng(config.seed)
    for row in rows:
        wrong = [text for text in dict.fromkeys(row.negatives) if text != row.positive][: config.negatives]
        while len(wrong) < config.negatives:
            other = rows[int(chance.integers(len(rows)))].positive
            if other != row.positive:
                wrong.append(other)
        yield Example(row.question, row.positive, tuple(wrong))

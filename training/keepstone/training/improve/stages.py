"""The steps of an improvement, by name, in the order in which they are taken."""

from __future__ import annotations

from collections.abc import Sequence

from keepstone.platform.errors import InvalidInput
from keepstone.training.data import Dataset
from keepstone.training.evaluate.gate import MIN_DOCUMENTS, MIN_QUESTIONS
from keepstone.training.improve.config import RecipeName

DATASET = "dataset"
_HELD_OUT = 8
"""So many documents are to be held out, more or less: the gate wants six, each of them with good questions."""
_SHARES = (0.2, 0.45)


def stage_names(recipes: Sequence[RecipeName]) -> list[str]:
    """Return the names of all steps: one model after the other is trained, judged and promoted."""
    return [DATASET, *(f"{what} {recipe}" for recipe in recipes for what in ("train", "judge", "promote"))]


def held_out_share(documents: int) -> float:
    """Return which share of a collection to hold out: a fifth, and more of a small one, or nothing could be judged."""
    least, most = _SHARES
    return round(min(most, max(least, _HELD_OUT / max(documents, 1))), 3)


def require_testable(dataset: Dataset) -> tuple[int, int]:
    """Return how many questions a dataset has to learn from, and how many are held out.

    Raises:
        InvalidInput: no verdict could come of those, so that training would be for nothing.
    """
    rows = {side: dataset.card.files[f"retrieval/{side}.jsonl"].rows for side in ("train", "test")}
    documents = len({row.document for row in dataset.retrieval("test")})
    if rows["test"] < MIN_QUESTIONS or documents < MIN_DOCUMENTS:
        raise InvalidInput(
            f"The collection {dataset.card.collection!r} is too small to tell whether a model got better: a verdict "
            f"takes {MIN_QUESTIONS} held-out questions about {MIN_DOCUMENTS} documents, and there are {rows['test']} "
            f"about {documents}. Nothing was trained",
            fix="Add documents, or hold out more of them: --set dataset.test_share=0.45 --set dataset.passages=1000",
        )
    return rows["train"], rows["test"]

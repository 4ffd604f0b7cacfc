"""What a dataset is to be made from, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

QuestionSource = Literal["written", "sentences"]


class DatasetConfig(BaseModel):
    """The order for a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    collection: str
    """Name or id of the collection."""
    name: str | None = Field(default=None, pattern=r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$")
    """Name of the dataset: small letters, digits and hyphens. Unset: made from the collection's."""
    source: Literal["auto"] | QuestionSource = "auto"
    """Where questions come from. `written`: the language model. `sentences`: the documents' own words, without a
    model. `auto`: the model where it is large enough to write answers (`answering.style`)."""
    passages: int = Field(default=300, ge=1, le=20_000)
    """About how many passages questions are made."""
    negatives: int = Field(default=4, ge=0, le=32)
    """How many passages that do not answer it go with each question."""
    test_share: float = Field(default=0.2, gt=0, lt=0.5)
    """Share of the passages, by whole documents, that is held out for testing."""
    found_within: int = Field(default=10, ge=1, le=50)
    """A question counts only if search finds its passage among so many."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Decides the split and which passages are taken; the same seed on the same collection gives the same files."""

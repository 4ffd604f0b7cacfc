"""What an improvement is to do."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from keepstone.platform.errors import InvalidInput, did_you_mean

RecipeName = Literal["embedding", "sft", "quantize"]
RECIPES: tuple[RecipeName, ...] = get_args(RecipeName)
_DATASET = "dataset"


class ImproveConfig(BaseModel):
    """The order for an improvement."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    collection: str
    """Name or id of the collection to learn from."""
    recipes: tuple[RecipeName, ...] = ()
    """What to make, in this order. Empty: an encoder; and an adapter for the language model, where that is large enough
    to write the questions itself and there is a GPU to train it on."""
    dataset: str | None = None
    """Id or name of a dataset of the collection to use as it is; unset, a new one is built."""
    promote: bool = True
    """Whether a candidate that the gate lets pass takes over by itself."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of the dataset and of the recipes, under `dataset`, `embedding`, `sft` and `quantize`."""

    @field_validator("recipes")
    @classmethod
    def _each_once(cls, value: tuple[RecipeName, ...]) -> tuple[RecipeName, ...]:
        return tuple(dict.fromkeys(value))


def options_of(pairs: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return options by what they are for, from `embedding.epochs=2` and the like.

    Raises:
        InvalidInput: one names nothing that has options.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, value in pairs.items():
        part, dot, option = name.partition(".")
        if not dot or part not in (_DATASET, *RECIPES):
            raise InvalidInput(
                f"{name!r} is no option: it is written PART.OPTION, such as embedding.epochs",
                fix=did_you_mean(part, [_DATASET, *RECIPES]),
            )
        found.setdefault(part, {})[option] = value
    return found

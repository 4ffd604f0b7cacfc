"""How models are trained from a dataset: one readable file a recipe, which the runs of `training.runs` carry out."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from keepstone.platform.errors import NotFound, did_you_mean
from keepstone.training.recipes.base import Recipe

NAMES = ("embedding", "reranker", "sft", "quantize")


@cache
def recipe(name: str) -> Recipe:
    """Return a recipe by its name.

    Raises:
        NotFound: there is none of that name.
    """
    if name not in NAMES:
        raise NotFound(f"There is no recipe {name!r}", fix=did_you_mean(name, list(NAMES)))
    found = import_module(f"keepstone.training.recipes.{name}").RECIPE
    assert isinstance(found, Recipe)
    return found


__all__ = ["NAMES", "Recipe", "recipe"]

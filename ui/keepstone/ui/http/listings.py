"""The envelope of every list that the API returns."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel

T = TypeVar("T")


class Listing(BaseModel, Generic[T]):
    """Items, and where the next page begins."""

    data: list[T]
    next: str | None = None
    """Value of `after` that gets the next page; null at the end."""

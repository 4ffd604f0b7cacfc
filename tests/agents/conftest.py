"""Passages to check answers against, without any search."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keepstone.agents.types import Passage
from tests.agents.passages import TEXTS, make_passage


@pytest.fixture
def passages() -> tuple[Passage, ...]:
    return tuple(make_passage(number, text, start=100 * number) for number, text in enumerate(TEXTS, 1))


@pytest.fixture
def passage_of() -> Callable[..., Passage]:
    return make_passage

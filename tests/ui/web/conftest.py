"""A runtime with light models and a few documents, and calls of handlers as Gradio makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import pytest
from starlette.requests import Request

from keepstone.platform.access import Principal
from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.runtime import Runtime
from tests.stack import NEVER_DECLINES, admin, ingest, open_stack

COLLECTION = "Manuals"
ANSWER = "The warranty lasts two years. [1] Dolphins wrote the manual."
FILES = {
    "Warranty.md": b"# Warranty\n\n## Duration\n\nThe warranty lasts two years. Keep the receipt as proof.\n\n"
    b"## Exclusions\n\nDamage by water is not covered by the warranty.\n",
    "Leave.md": b"# Leave\n\n## Sick leave\n\nA medical certificate is required from the fourth day of absence.\n",
    "年假.md": "# 年假\n\n## 天数\n\n员工每年有二十天年假。\n".encode(),
    "empty.txt": b"",
}


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    """Return the language model, which always says the same."""
    return ScriptedEngine(default=ANSWER)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory, engine: ScriptedEngine) -> Iterator[Runtime]:
    """Return a runtime with four documents, one of which cannot be read."""
    with open_stack(tmp_path_factory.mktemp("home"), engine=engine, answering=NEVER_DECLINES) as runtime:
        ingest(runtime, admin(runtime), COLLECTION, FILES)
        yield runtime


@pytest.fixture
def ann(runtime: Runtime) -> Principal:
    """Return the administrator, who owns the documents."""
    return admin(runtime)


@pytest.fixture
def asks() -> Callable[..., gr.Request]:
    """Return a maker of the request of a call, as the gate of the HTTP face leaves it."""

    def request(principal: Principal | None, session: str = "tab") -> gr.Request:
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "state": {"principal": principal}}
        return gr.Request(Request(scope), session_hash=session)

    return request


def event(**data: Any) -> gr.EventData:
    """Return what a click brings."""
    return gr.EventData(None, data)

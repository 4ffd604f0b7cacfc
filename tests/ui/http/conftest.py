"""A runtime with light models for each module of tests, the app over it, and keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI

from keepstone.platform.serving.scripted import ScriptedEngine
from keepstone.ui.http.app import create_app
from keepstone.ui.runtime import Runtime
from tests.stack import NEVER_DECLINES, open_stack
from tests.ui.served import client_of, key_of

ANSWER = "The warranty lasts two years. [1]"


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    """Return the language model, which always says the same."""
    return ScriptedEngine(default=ANSWER)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory, engine: ScriptedEngine) -> Iterator[Runtime]:
    """Return a runtime that never declines."""
    home = tmp_path_factory.mktemp("home")
    with open_stack(home, engine=engine, answering=NEVER_DECLINES, app={"max_body_mb": 8}) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def app(runtime: Runtime) -> FastAPI:
    """Return the app without web pages."""
    return create_app(runtime, web=False)


@pytest.fixture(scope="module")
def admin_key(runtime: Runtime) -> str:
    """Return a key of the local administrator."""
    return key_of(runtime)


@pytest.fixture
async def client(app: FastAPI, admin_key: str) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client with the administrator's key."""
    async with client_of(app, admin_key) as client:
        yield client

"""One real app with the real engine for all end-to-end tests: vLLM on this machine, starter models, the examples."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from benchmarks.app import App, running_app
from benchmarks.smoke import COLLECTION, EXAMPLES
from keepstone.platform.errors import EngineUnavailable


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Start the app and vLLM once, with the example documents in."""
    try:
        with running_app(tmp_path_factory.mktemp("e2e"), wait=True) as running:
            running.run("ingest", str(EXAMPLES / "documents"), "--collection", COLLECTION)
            yield running
    except EngineUnavailable as error:
        if os.environ.get("CI"):
            raise  # there the real engine is what is tested
        pytest.skip(str(error))

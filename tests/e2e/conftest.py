"""One real app with the real engine for all end-to-end tests: vLLM on this machine, starter models, the examples."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

from benchmarks.app import App, running_app
from benchmarks.smoke import COLLECTION, EXAMPLES
from keepstone.platform.errors import EngineUnavailable

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a Chromium of this machine."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        except Error as error:
            pytest.skip(f"Chromium does not start here: {error}")
        yield chromium
        chromium.close()

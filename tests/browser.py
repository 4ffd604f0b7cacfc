"""The fixture `browser`: a headless Chromium, for tests that use the pages as a person does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_FLAGS: Final = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a Chromium of this machine; skips where there is none.

    Not for the session: while Playwright is open, its event loop keeps asynchronous tests from having theirs.
    """
    from playwright.sync_api import Error, sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=program, headless=True, args=_FLAGS)
        except Error as error:
            pytest.skip(f"Chromium does not start here: {error}")
        yield chromium
        chromium.close()

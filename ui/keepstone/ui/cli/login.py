"""`keepstone login`: a fresh link that signs a browser in."""

from __future__ import annotations

from keepstone.ui.cli.client import connect
from keepstone.ui.cli.output import console, emit, note


def login() -> None:
    """Print a link that signs a browser in. It works once."""
    with connect(engine=True) as api:
        link = api.post("/v1/login-links")

    def human() -> None:
        console().print(link["url"], soft_wrap=True)
        note(f"It works once, for {link['minutes']} minutes.", "dim")

    emit(link, human)
